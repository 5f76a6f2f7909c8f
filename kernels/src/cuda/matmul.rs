//! Products of packed weights with vectors.

use super::pack::{COLUMNS, ROWS};
use super::{Buffer, Device, NoDevice, Packed, pack};
use crate::Format;

/// Vectors that are multiplied together, in the time of one where weights are large.
pub const FEW: usize = 8;
/// More vectors are multiplied by what decodes weights once for 128 of them.
const FEW_AT_MOST: usize = 16;

/// How blocks share products.
struct Way {
    source: &'static str,
    threads: u32,
    /// Rows and vectors of a block.
    block: [usize; 2],
    /// Tiles that a block has at least, where columns are shared, too.
    tiles: usize,
}

static WAYS: [Way; 3] = [
    Way { source: "matmul_few", threads: 256, block: [ROWS, FEW], tiles: 16 },
    Way { source: "matmul_many", threads: 128, block: [128, 128], tiles: 8 },
    // For values of two halves.
    Way { source: "matmul_many", threads: 128, block: [128, 64], tiles: 8 },
];

/// A matrix in a device's memory, packed for products.
#[derive(Debug)]
pub struct Weights {
    kernel: &'static str,
    codes: Buffer<u8>,
    scales: Buffer<u8>,
    heads: Buffer<u8>,
    powers: Buffer<f32>,
    rows: usize,
    columns: usize,
}

/// Memory that products and attention are made with, kept from one to the next.
#[derive(Debug)]
pub struct Scratch {
    halves: Buffer<u8>,
    scales: Buffer<f32>,
    /// Sums of each 32 halves.
    totals: Buffer<f32>,
    /// What parts of the columns, or of the positions, give.
    pub(super) parts: Buffer<f32>,
}

impl Weights {
    /// Numbers of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes in the device's memory.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() + self.heads.len() + 4 * self.powers.len()
    }
}

impl Device {
    /// Scratch memory, of which there is none yet.
    ///
    /// # Errors
    /// [`NoDevice`].
    pub fn scratch(&self) -> Result<Scratch, NoDevice> {
        let floats = || self.room(0);
        Ok(Scratch { halves: self.room(0)?, scales: floats()?, totals: floats()?, parts: floats()? })
    }

    /// Pack rows of `columns` values and copy them into the device's memory; nothing for a format whose products it has no
    /// kernel for.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `bytes` are no whole number of rows.
    pub fn upload_weights(&self, format: &Format, columns: usize, bytes: &[u8]) -> Result<Option<Weights>, NoDevice> {
        let Some(Packed { kernel, codes, scales, heads, powers }) = pack(format, columns, bytes) else {
            return Ok(None);
        };
        let rows = bytes.len() / (columns / format.block * format.bytes);
        let [codes, scales, heads] = [codes, scales, heads].map(|bytes| self.upload(&bytes));
        let powers = self.upload(&powers)?;
        Ok(Some(Weights { kernel, codes: codes?, scales: scales?, heads: heads?, powers, rows, columns }))
    }

    /// The product of each matrix with each of `x`'s vectors, vector after vector. Matrices have the same number of columns.
    ///
    /// Numbers of `x` are rounded to half precision, relative to the largest one of their vector, and so are weights for more than
    /// sixteen vectors, relative to the largest one that a row can have, but not f32; sums are singles, in an order
    /// that only the device's number of multiprocessors changes.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole vectors.
    pub fn multiply(
        &self,
        x: &Buffer<f32>,
        scratch: &mut Scratch,
        to: &mut [(&Weights, &mut Buffer<f32>)],
    ) -> Result<(), NoDevice> {
        let Some(columns) = to.first().map(|(weights, _)| weights.columns) else { return Ok(()) };
        let same = to.iter().all(|(weights, _)| weights.columns == columns);
        assert!(same && x.len().is_multiple_of(columns), "{} numbers for {columns} columns", x.len());
        let vectors = x.len() / columns;
        to.iter().try_for_each(|(weights, _)| self.reserve(scratch, vectors, weights))?;
        self.pack_activations(x, columns, scratch)?;
        for (weights, y) in to {
            self.fit(y, vectors * weights.rows)?;
            self.multiply_packed(weights, vectors, scratch, y)?;
        }
        Ok(())
    }

    /// Have the memory for products of so many vectors.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    pub fn reserve(&self, scratch: &mut Scratch, vectors: usize, weights: &Weights) -> Result<(), NoDevice> {
        let Scratch { halves, scales, totals, parts } = scratch;
        let (eights, tiles) = (vectors.div_ceil(FEW), weights.columns.div_ceil(COLUMNS));
        self.fit(halves, eights * tiles * COLUMNS * FEW * 2)?;
        self.fit(scales, eights * FEW)?;
        self.fit(totals, eights * tiles * 2 * FEW)?;
        let (_, [.., number]) = self.way(weights, vectors);
        self.fit(parts, if number == 1 { 0 } else { number * vectors * weights.rows })
    }

    /// A way for so many vectors, and its grid: blocks for rows, for vectors, and for parts of the columns.
    fn way(&self, weights: &Weights, vectors: usize) -> (&'static Way, [usize; 3]) {
        let many = if weights.kernel == "f32" { 2 } else { 1 };
        let way = &WAYS[if vectors > FEW_AT_MOST { many } else { 0 }];
        let [rows, columns] = [weights.rows.div_ceil(way.block[0]), vectors.div_ceil(way.block[1])];
        // Two blocks for each multiprocessor, if there are tiles enough.
        let wanted = 2 * self.multiprocessors / (rows * columns).max(1);
        (way, [rows, columns, wanted.min(weights.columns.div_ceil(COLUMNS) / way.tiles).max(1)])
    }

    fn pack_activations(&self, x: &Buffer<f32>, columns: usize, scratch: &Scratch) -> Result<(), NoDevice> {
        let vectors = x.len() / columns;
        let launch = self.launch("pack_activations", "pack_activations")?.buffer(x);
        let launch = launch.buffer(&scratch.halves).buffer(&scratch.scales).buffer(&scratch.totals);
        let launch = launch.u32(columns).u32(columns.div_ceil(COLUMNS)).u32(vectors);
        // SAFETY: the kernel takes these arguments, reads the vectors that there are, and writes all eights of packed ones.
        unsafe { launch.start([vectors.next_multiple_of(FEW), 1, 1]) }
    }

    fn multiply_packed(
        &self,
        weights: &Weights,
        vectors: usize,
        scratch: &Scratch,
        y: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let (Way { source, threads, .. }, grid) = self.way(weights, vectors);
        let parts = grid[2];
        let launch = self.launch(source, &format!("{source}_{}", weights.kernel))?.threads(*threads);
        let launch =
            launch.buffer(&weights.codes).buffer(&weights.scales).buffer(&weights.heads).buffer(&weights.powers);
        let launch = launch.buffer(&scratch.halves).buffer(&scratch.scales).buffer(&scratch.totals);
        let launch = launch.buffer(if parts == 1 { y } else { &scratch.parts });
        let launch = launch.u32(weights.rows).u32(weights.columns.div_ceil(COLUMNS)).u32(vectors);
        // SAFETY: the kernel takes these arguments, which are of the sizes that `pack` and `pack_activations` give, and writes
        // `vectors` times `rows` numbers for each part.
        unsafe { launch.start(grid) }?;
        if parts == 1 { Ok(()) } else { self.sum_parts(&scratch.parts, parts, y) }
    }

    fn sum_parts(&self, parts: &Buffer<f32>, number: usize, y: &Buffer<f32>) -> Result<(), NoDevice> {
        let launch = self.launch("matmul_few", "sum_parts")?.buffer(parts).buffer(y).u64(y.len()).u32(number);
        // SAFETY: the kernel takes these arguments, reads `number` parts of as many numbers as it writes.
        unsafe { launch.start([y.len().div_ceil(256), 1, 1]) }
    }
}
