//! Products of packed weights with vectors.

use super::launch::start;
use super::pack::{COLUMNS, ROWS};
use super::{Buffer, Device, NoDevice, pack};
use crate::Format;
use cudarc::driver::PushKernelArg;

/// Vectors that are multiplied together, in the time of one where weights are large.
pub const FEW: usize = 8;
/// Weights that are not packed.
const BF16: &str = "bf16";
/// Tiles that the warps of a block have under way.
const AT_ONCE: usize = 16;

/// A matrix in a device's memory, packed for products.
#[derive(Debug)]
pub struct Weights {
    format: &'static str,
    kernel: String,
    codes: Buffer<u8>,
    scales: Buffer<u8>,
    heads: Buffer<u8>,
    rows: usize,
    columns: usize,
}

impl Device {
    /// Pack rows of `columns` values and copy them into the device's memory; nothing for a format whose products it has no
    /// kernel for.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `bytes` are no whole number of rows.
    pub fn upload_weights(&self, format: &Format, columns: usize, bytes: &[u8]) -> Result<Option<Weights>, NoDevice> {
        let floats = format.name == BF16 && columns.is_multiple_of(8);
        let packed = if floats { None } else { pack(format, columns, bytes) };
        let parts: [&[u8]; 3] = match &packed {
            Some(packed) => [&packed.codes, &packed.scales, &packed.heads],
            None if floats => [bytes, &[], &[]],
            None => return Ok(None),
        };
        let rows = bytes.len() / (columns / format.block * format.bytes);
        let [codes, scales, heads] = parts.map(|bytes| self.upload(bytes));
        let (format, kernel) = (format.name, format!("matmul_few_{}", format.name));
        Ok(Some(Weights { format, kernel, codes: codes?, scales: scales?, heads: heads?, rows, columns }))
    }

    /// The weights times each of `x`'s vectors; vector after vector, [`FEW`] at a time. Numbers of `x` are rounded to half
    /// precision, relative to the largest one of their vector, unless weights are bf16; sums are singles, in an order that only
    /// the device's number of multiprocessors changes.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole vectors.
    pub fn matmul(&self, weights: &Weights, x: &Buffer<f32>) -> Result<Buffer<f32>, NoDevice> {
        let Weights { rows, columns, .. } = *weights;
        let vectors = x.len() / columns;
        assert!(x.len().is_multiple_of(columns), "{} numbers for {columns} columns", x.len());
        if weights.format == BF16 {
            return self.matmul_few_bf16(weights, x, vectors);
        }
        let (tiles, row_tiles) = (columns.div_ceil(COLUMNS), rows.div_ceil(ROWS));
        // Two blocks for each multiprocessor, if each has tiles for all of its warps then.
        let parts = (2 * self.multiprocessors).div_ceil(row_tiles.max(1)).min(tiles / AT_ONCE).max(1);
        let (halves, x_scales) = self.pack_activations(x, columns, tiles)?;
        let mut y = self.room(parts * vectors * rows)?;
        let kernel = self.modules.kernel("matmul_few", &weights.kernel)?;
        let numbers = [rows, tiles, vectors].map(|n| n as u32);
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&weights.codes.room).arg(&weights.scales.room).arg(&weights.heads.room);
        launch.arg(&halves.room).arg(&x_scales.room).arg(&mut y.room);
        numbers.iter().for_each(|number| _ = launch.arg(number));
        // SAFETY: the kernel takes these arguments, which are of the sizes that `pack` and `pack_activations` give, and writes
        // `vectors` times `rows` numbers for each part.
        unsafe { start(launch, [row_tiles, parts, vectors.div_ceil(FEW)], "launch matmul_few") }?;
        if parts == 1 { Ok(y) } else { self.sum_parts(&y, vectors * rows, parts) }
    }

    fn matmul_few_bf16(&self, weights: &Weights, x: &Buffer<f32>, vectors: usize) -> Result<Buffer<f32>, NoDevice> {
        const PER_BLOCK: usize = 32;
        let Weights { rows, columns, .. } = *weights;
        let mut y = self.room(vectors * rows)?;
        let numbers = [rows, columns].map(|n| n as u32);
        for first in (0..vectors).step_by(FEW) {
            let few = FEW.min(vectors - first);
            let kernel = self.modules.kernel("matmul_few_bf16", &format!("matmul_few_bf16_{few}"))?;
            let x = x.room.slice(first * columns..(first + few) * columns);
            let mut y = y.room.slice_mut(first * rows..(first + few) * rows);
            let mut launch = self.stream.launch_builder(&kernel);
            launch.arg(&weights.codes.room).arg(&x).arg(&mut y);
            numbers.iter().for_each(|number| _ = launch.arg(number));
            // SAFETY: the kernel takes these arguments; rows of weights and vectors are whole multiples of what it reads
            // at a time, and it writes `few` times `rows` numbers.
            unsafe { start(launch, [rows.div_ceil(PER_BLOCK), 1, 1], "launch matmul_few_bf16") }?;
        }
        Ok(y)
    }

    fn pack_activations(
        &self,
        x: &Buffer<f32>,
        columns: usize,
        tiles: usize,
    ) -> Result<(Buffer<u8>, Buffer<f32>), NoDevice> {
        let eights = (x.len() / columns).div_ceil(FEW);
        let (mut halves, mut scales) = (self.room(eights * tiles * COLUMNS * FEW * 2)?, self.room(eights * FEW)?);
        let kernel = self.modules.kernel("pack_activations", "pack_activations")?;
        let numbers = [columns, tiles, x.len() / columns].map(|n| n as u32);
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&x.room).arg(&mut halves.room).arg(&mut scales.room);
        numbers.iter().for_each(|number| _ = launch.arg(number));
        // SAFETY: the kernel takes these arguments, reads the vectors that there are, and writes all packed ones.
        unsafe { start(launch, [eights * FEW, 1, 1], "launch pack_activations") }?;
        Ok((halves, scales))
    }

    fn sum_parts(&self, parts: &Buffer<f32>, count: usize, number: usize) -> Result<Buffer<f32>, NoDevice> {
        let mut y = self.room(count)?;
        let kernel = self.modules.kernel("matmul_few", "sum_parts")?;
        let (wide, number) = (count as u64, number as u32);
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&parts.room).arg(&mut y.room).arg(&wide).arg(&number);
        // SAFETY: the kernel takes these arguments, reads `number` parts of `count` numbers, and writes `count`.
        unsafe { start(launch, [count.div_ceil(256), 1, 1], "launch sum_parts") }?;
        Ok(y)
    }
}
