//! What a model computes between products. What is computed goes into a buffer that is made as large as that needs.

use super::{Buffer, Device, NoDevice};
use crate::Format;

/// Values of a block, for what is computed value by value.
const THREADS: usize = 256;

/// Rows of numbers as they are stored, in a device's memory.
#[derive(Debug)]
pub struct Table {
    format: &'static Format,
    bytes: Buffer<u8>,
    rows: usize,
    row_bytes: usize,
}

impl Device {
    /// Copy rows of `columns` values into the device's memory.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `bytes` are no whole number of rows, or the format has no decoder.
    pub fn upload_table(&self, format: &'static Format, columns: usize, bytes: &[u8]) -> Result<Table, NoDevice> {
        let row_bytes = columns / format.block * format.bytes;
        assert!(format.decoder().is_some() && columns.is_multiple_of(format.block), "{format:?}, {columns}");
        assert!(bytes.len().is_multiple_of(row_bytes.max(1)), "{} bytes in rows of {row_bytes}", bytes.len());
        Ok(Table { format, bytes: self.upload(bytes)?, rows: bytes.len() / row_bytes.max(1), row_bytes })
    }

    /// The rows with these numbers, as singles. `picked` is kept memory.
    ///
    /// # Errors
    /// [`NoDevice`].
    pub fn rows(
        &self,
        table: &Table,
        numbers: &Buffer<u32>,
        picked: &mut Buffer<u8>,
        to: &mut Buffer<f32>,
    ) -> Result<(), NoDevice> {
        self.fit(picked, numbers.len() * table.row_bytes)?;
        let launch = self.launch("gather", "gather")?.buffer(&table.bytes).buffer(numbers).buffer(picked);
        let launch = launch.u64(table.row_bytes).u32(table.rows);
        // SAFETY: the kernel takes these arguments, reads rows that are there, and writes one row for each block.
        unsafe { launch.start([numbers.len(), 1, 1]) }?;
        self.dequantize(table.format, picked, to)
    }

    /// Each row of `x`, which are as long as `weight`, as [`crate::ops::rms_norm`] makes it.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole rows.
    pub fn rms_norm(
        &self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        y: &mut Buffer<f32>,
    ) -> Result<(), NoDevice> {
        assert!(x.len().is_multiple_of(weight.len()), "{} numbers for rows of {}", x.len(), weight.len());
        self.fit(y, x.len())?;
        let launch = self.launch("rms_norm", "rms_norm")?.buffer(x).buffer(weight).buffer(y).u32(weight.len()).f32(eps);
        // SAFETY: the kernel takes these arguments, and reads and writes one row of `length` numbers for each block.
        unsafe { launch.start([x.len() / weight.len().max(1), 1, 1]) }
    }

    /// gate = silu(gate) * up, as [`crate::ops::silu_times`].
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn silu_times(&self, gate: &mut Buffer<f32>, up: &Buffer<f32>) -> Result<(), NoDevice> {
        self.value_by_value("silu_times", gate, up)
    }

    /// x = x + y.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), NoDevice> {
        self.value_by_value("add", x, y)
    }

    /// Add a row to each row of `x`.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole rows.
    pub fn add_to_rows(&self, x: &mut Buffer<f32>, row: &Buffer<f32>) -> Result<(), NoDevice> {
        assert!(x.len().is_multiple_of(row.len()), "{} numbers in rows of {}", x.len(), row.len());
        let launch = self.launch("elementwise", "add_to_rows")?.buffer(x).buffer(row).u64(x.len()).u32(row.len());
        // SAFETY: the kernel takes these arguments, reads and writes `count` numbers, and reads a row of `length`.
        unsafe { launch.start([x.len().div_ceil(THREADS), 1, 1]) }
    }

    /// Turn the pairs (i, i + size / 2) of each head of `tokens` successive tokens, the first of them at the position that
    /// `position` has. `turns` has, for each position, size / 2 cosines and as many sines; what comes after the last one is not turned.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn rope(
        &self,
        x: &mut Buffer<f32>,
        turns: &Buffer<f32>,
        position: &Buffer<u32>,
        tokens: usize,
        size: usize,
    ) -> Result<(), NoDevice> {
        let fits = size.is_multiple_of(2) && turns.len().is_multiple_of(size) && position.len() == 1;
        assert!(fits && x.len().is_multiple_of((tokens * size).max(1)), "{} numbers, {tokens} tokens", x.len());
        let launch = self.launch("rope", "rope")?.buffer(x).buffer(turns).buffer(position);
        let launch = launch.u32(x.len() / (tokens * size).max(1)).u32(size).u32(turns.len() / size);
        // SAFETY: the kernel takes these arguments, reads turns that are there, and reads and writes the heads of one token for
        // each block.
        unsafe { launch.start([tokens, 1, 1]) }
    }

    fn value_by_value(&self, kernel: &str, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), NoDevice> {
        assert_eq!(x.len(), y.len());
        let launch = self.launch("elementwise", kernel)?.buffer(x).buffer(y).u64(x.len());
        // SAFETY: the kernels take these arguments, read `count` numbers of both, and write those of the first.
        unsafe { launch.start([x.len().div_ceil(THREADS), 1, 1]) }
    }
}
