//! Products of packed weights with vectors.

use super::pack::{COLUMNS, ROWS};
use super::{Buffer, Device, NoDevice, pack};
use crate::Format;

/// Vectors that are multiplied together, in the time of one where weights are large.
pub const FEW: usize = 8;
/// Weights that are not packed, and the rows of a block.
static FLOATS: [(&str, usize); 3] = [("bf16", 32), ("f16", 32), ("f32", 16)];
/// More vectors are multiplied by what takes weights apart once for 64 of them.
const FEW_AT_MOST: usize = 16;
/// Rows and vectors of a block then.
const MANY: [usize; 2] = [128, 64];
/// Floats that are multiplied so, what splits vectors for them, and from which architecture on.
static SPLIT: [(&str, &str, (i32, i32)); 2] = [("bf16", "split_bf16", (8, 0)), ("f16", "split_f16", (7, 5))];
/// Tiles that the warps of a block have under way.
const AT_ONCE: usize = 16;

/// A matrix in a device's memory, packed for products.
#[derive(Debug)]
pub struct Weights {
    format: &'static str,
    /// Rows of a block, for floats.
    floats: Option<usize>,
    codes: Buffer<u8>,
    scales: Buffer<u8>,
    heads: Buffer<u8>,
    rows: usize,
    columns: usize,
}

/// Memory that products are made with, kept from one to the next.
#[derive(Debug)]
pub struct Scratch {
    halves: Buffer<u8>,
    scales: Buffer<f32>,
    /// Sums of each 32 halves.
    totals: Buffer<f32>,
    /// Sums of parts of the columns.
    parts: Buffer<f32>,
}

/// How weights are multiplied.
#[derive(Clone, Copy, Debug)]
enum Way {
    Few,
    Many,
    /// Rows of a block.
    FewFloats(usize),
    /// What splits vectors.
    ManyFloats(&'static str),
}

impl Way {
    /// What makes its vectors, where they are not taken as they are.
    fn input(self) -> Option<&'static str> {
        match self {
            Way::Few | Way::Many => Some("pack_activations"),
            Way::FewFloats(_) => None,
            Way::ManyFloats(input) => Some(input),
        }
    }
}

impl Weights {
    /// Numbers of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes in the device's memory.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() + self.heads.len()
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
        let floats = FLOATS.iter().find(|(name, _)| *name == format.name && columns.is_multiple_of(8));
        let packed = pack(format, columns, bytes);
        let parts: [&[u8]; 3] = match &packed {
            Some(packed) => [&packed.codes, &packed.scales, &packed.heads],
            None if floats.is_some() => [bytes, &[], &[]],
            None => return Ok(None),
        };
        let rows = bytes.len() / (columns / format.block * format.bytes);
        let [codes, scales, heads] = parts.map(|bytes| self.upload(bytes));
        let (floats, format) = (floats.map(|(_, rows)| *rows), format.name);
        Ok(Some(Weights { format, floats, codes: codes?, scales: scales?, heads: heads?, rows, columns }))
    }

    /// The product of each matrix with each of `x`'s vectors, vector after vector. Matrices have the same number of columns.
    ///
    /// Numbers of `x` are rounded to half precision, relative to the largest one of their vector, or, where weights are floats, to
    /// sixteen bits and more; sums are singles, in an order that only the device's number of multiprocessors changes.
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
        let mut ready = None;
        for (weights, y) in to {
            self.fit(y, vectors * weights.rows)?;
            let way = self.way(weights, vectors);
            if way.input().is_some() && way.input() != ready {
                ready = way.input();
                self.prepare(way, x, columns, scratch)?;
            }
            match way {
                Way::Few => self.matmul_few(weights, vectors, scratch, y)?,
                Way::Many => self.matmul_many(weights, vectors, scratch, y)?,
                Way::FewFloats(per_block) => self.matmul_few_floats(weights, per_block, x, y)?,
                Way::ManyFloats(_) => self.matmul_many_floats(weights, vectors, scratch, y)?,
            }
        }
        Ok(())
    }

    fn way(&self, weights: &Weights, vectors: usize) -> Way {
        let split = SPLIT.iter().find(|(name, ..)| *name == weights.format);
        let split = split.filter(|(_, _, architecture)| self.architecture >= *architecture);
        match (weights.floats, split, vectors > FEW_AT_MOST) {
            (None, _, false) => Way::Few,
            (None, _, true) => Way::Many,
            (Some(_), Some((_, input, _)), true) => Way::ManyFloats(input),
            (Some(per_block), ..) => Way::FewFloats(per_block),
        }
    }

    /// Bring vectors into the form that a way of multiplying takes.
    fn prepare(&self, way: Way, x: &Buffer<f32>, columns: usize, scratch: &mut Scratch) -> Result<(), NoDevice> {
        let (vectors, tiles) = (x.len() / columns, columns.div_ceil(COLUMNS));
        let eights = vectors.div_ceil(FEW);
        self.fit(&mut scratch.scales, eights * FEW)?;
        let launch = match way {
            Way::ManyFloats(input) => {
                self.fit(&mut scratch.halves, eights * tiles * COLUMNS * FEW * 4)?;
                let launch = self.launch("matmul_many_floats", input)?;
                launch.buffer(x).buffer(&scratch.halves).buffer(&scratch.scales)
            }
            _ => {
                self.fit(&mut scratch.halves, eights * tiles * COLUMNS * FEW * 2)?;
                self.fit(&mut scratch.totals, eights * tiles * 2 * FEW)?;
                let launch = self.launch("pack_activations", "pack_activations")?;
                launch.buffer(x).buffer(&scratch.halves).buffer(&scratch.scales).buffer(&scratch.totals)
            }
        };
        let launch = launch.u32(columns).u32(tiles).u32(vectors);
        // SAFETY: the kernels take these arguments, read the vectors that there are, and write all packed ones.
        unsafe { launch.start([eights * FEW, 1, 1]) }
    }

    fn matmul_few(
        &self,
        weights: &Weights,
        vectors: usize,
        scratch: &mut Scratch,
        y: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Weights { rows, columns, .. } = *weights;
        let (tiles, row_tiles) = (columns.div_ceil(COLUMNS), rows.div_ceil(ROWS));
        // Two blocks for each multiprocessor, if each has tiles for all of its warps then.
        let parts = (2 * self.multiprocessors).div_ceil(row_tiles.max(1)).min(tiles / AT_ONCE).max(1);
        let Scratch { halves, scales, parts: sums, .. } = scratch;
        self.fit(sums, if parts == 1 { 0 } else { parts * vectors * rows })?;
        let launch = self.launch("matmul_few", &format!("matmul_few_{}", weights.format))?;
        let launch = launch.buffer(&weights.codes).buffer(&weights.scales).buffer(&weights.heads);
        let launch = launch.buffer(halves).buffer(scales).buffer(if parts == 1 { y } else { sums });
        let launch = launch.u32(rows).u32(tiles).u32(vectors);
        // SAFETY: the kernel takes these arguments, which are of the sizes that `pack` and `pack_activations` give, and writes
        // `vectors` times `rows` numbers for each part.
        unsafe { launch.start([row_tiles, parts, vectors.div_ceil(FEW)]) }?;
        if parts == 1 { Ok(()) } else { self.sum_parts(sums, parts, y) }
    }

    fn matmul_many(
        &self,
        weights: &Weights,
        vectors: usize,
        scratch: &Scratch,
        y: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Weights { rows, columns, format, .. } = *weights;
        let launch = self.launch("matmul_many", &format!("matmul_many_{format}"))?;
        let launch = launch.buffer(&weights.codes).buffer(&weights.scales).buffer(&weights.heads);
        let launch = launch.buffer(&scratch.halves).buffer(&scratch.scales).buffer(&scratch.totals).buffer(y);
        let launch = launch.u32(rows).u32(columns.div_ceil(COLUMNS)).u32(vectors);
        // SAFETY: the kernel takes these arguments, which are of the sizes that `pack` and `pack_activations` give, and writes
        // `vectors` times `rows` numbers.
        unsafe { launch.start([rows.div_ceil(MANY[0]), vectors.div_ceil(MANY[1]), 1]) }
    }

    fn matmul_few_floats(
        &self,
        weights: &Weights,
        per_block: usize,
        x: &Buffer<f32>,
        y: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Weights { rows, columns, .. } = *weights;
        let vectors = x.len() / columns;
        for first in (0..vectors).step_by(FEW) {
            let few = FEW.min(vectors - first);
            let launch = self
                .launch("matmul_few_floats", &format!("matmul_few_{}_{few}", weights.format))?
                .buffer(&weights.codes);
            let launch = launch.from(x, first * columns).from(y, first * rows).u32(rows).u32(columns);
            // SAFETY: the kernel takes these arguments; rows of weights and vectors are whole multiples of what it reads
            // at a time, and it writes `few` times `rows` numbers.
            unsafe { launch.start([rows.div_ceil(per_block), 1, 1]) }?;
        }
        Ok(())
    }

    fn matmul_many_floats(
        &self,
        weights: &Weights,
        vectors: usize,
        scratch: &Scratch,
        y: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Weights { rows, columns, format, .. } = *weights;
        let launch = self.launch("matmul_many_floats", &format!("matmul_many_{format}"))?.buffer(&weights.codes);
        let launch = launch.buffer(&scratch.halves).buffer(&scratch.scales).buffer(y);
        let launch = launch.u32(rows).u32(columns).u32(vectors);
        // SAFETY: the kernel takes these arguments; rows are whole multiples of what it reads at a time, and it writes `vectors`
        // times `rows` numbers.
        unsafe { launch.start([rows.div_ceil(MANY[0]), vectors.div_ceil(MANY[1]), 1]) }
    }

    fn sum_parts(&self, parts: &Buffer<f32>, number: usize, y: &Buffer<f32>) -> Result<(), NoDevice> {
        let launch = self.launch("matmul_few", "sum_parts")?.buffer(parts).buffer(y).u64(y.len()).u32(number);
        // SAFETY: the kernel takes these arguments, reads `number` parts of as many numbers as it writes.
        unsafe { launch.start([y.len().div_ceil(256), 1, 1]) }
    }
}
