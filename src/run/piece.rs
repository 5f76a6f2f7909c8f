//! A piece of a tensor: small enough to hold, large enough to be worth a read.

use crate::error::{Error, Result};
use crate::plan::{BlockScale, Input, Plan, Reorder, TensorPlan};
use crate::source::Source;
use crate::tensor::TensorId;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use tersor_kernels::{BadValue, Class, Encoding, Fit, Format, Importance, Level, NonFinite};

/// Values of a piece, unless one unit of its tensor is larger. Fixed, so that sums over pieces are the same in every
/// run.
const PIECE_VALUES: u64 = 1 << 21;
/// Values that are decoded at a time.
const STAGE_VALUES: u64 = 1 << 12;
/// All blocks divide this.
const BLOCK_MULTIPLE: u64 = 256;

/// Consecutive values of one tensor.
#[derive(Debug)]
pub(super) struct Piece {
    /// Position in the plan.
    pub(super) tensor: usize,
    pub(super) start: u64,
    values: u64,
}

/// A worker's memory, kept from piece to piece.
#[derive(Default)]
pub(super) struct Buffers {
    /// Bytes as read.
    pub(super) stored: Scratch<u8>,
    reordered: Scratch<u8>,
    /// Values before rounding.
    pub(super) decoded: Scratch<f32>,
    /// Bytes to write.
    pub(super) encoded: Scratch<u8>,
}

impl Buffers {
    /// Let `encoded` have so many bytes.
    pub(super) fn make_room(&mut self, bytes: usize) {
        self.encoded.set_len(bytes);
    }

    /// The bytes to write are those that were read.
    fn copy_stored(&mut self) {
        self.encoded.set_len(self.stored.len());
        self.encoded.copy_from_slice(&self.stored);
    }
}

/// A slice of changing length over memory that only grows, so that a larger piece after a smaller one clears nothing.
#[derive(Default)]
pub(super) struct Scratch<T> {
    memory: Vec<T>,
    len: usize,
}

impl<T: Copy + Default> Scratch<T> {
    /// Set the length; what is there stays, in no particular order.
    fn set_len(&mut self, len: usize) {
        if self.memory.len() < len {
            self.memory.resize(len, T::default());
        }
        self.len = len;
    }
}

impl<T> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}

/// The plan, cut up.
pub(super) fn pieces(plan: &Plan) -> Vec<Piece> {
    plan.tensors.iter().enumerate().flat_map(|(n, t)| pieces_of(n, t)).collect()
}

/// One tensor of the plan, cut up.
pub(super) fn pieces_of(tensor: usize, t: &TensorPlan) -> impl Iterator<Item = Piece> + use<> {
    let unit = unit(t);
    let step = (PIECE_VALUES / unit).max(1) * unit;
    let total = t.shape.values();
    (0..total.div_ceil(step)).map(move |n| Piece { tensor, start: n * step, values: step.min(total - n * step) })
}

/// Values that cannot be taken apart: a head of rows to reorder, a row to scale, otherwise some blocks.
fn unit(t: &TensorPlan) -> u64 {
    match &t.input {
        Input::Stored { order: Reorder::None, scale: None, .. } | Input::Computed(_) => BLOCK_MULTIPLE,
        Input::Stored { order, scale, .. } => {
            let row = row_values(t);
            let rows = order.period().max(u64::from(scale.is_some()));
            rows * row
        }
    }
    .max(1)
}

/// Values that move together when rows are reordered: a row of a matrix, one value of a bias.
fn row_values(t: &TensorPlan) -> u64 {
    if t.shape.rank() < 2 { 1 } else { t.shape.cols() }
}

impl Piece {
    /// Bytes that a worker holds for it.
    pub(super) fn memory(&self, plan: &Plan) -> u64 {
        let t = &plan.tensors[self.tensor];
        let stored = match &t.input {
            Input::Stored { format, order, .. } => {
                size(format, self.values) as u64 * if *order == Reorder::None { 1 } else { 2 }
            }
            Input::Computed(_) => 0,
        };
        stored + 4 * self.values + size(t.format, self.values) as u64
    }

    /// Where its encoded bytes go, from the tensor's start.
    pub(super) fn output_offset(&self, t: &TensorPlan) -> u64 {
        size(t.format, self.start) as u64
    }

    /// Its bytes in the source.
    pub(super) fn stored_bytes(&self, t: &TensorPlan) -> usize {
        match &t.input {
            Input::Stored { format, .. } => size(format, self.values),
            Input::Computed(_) => 0,
        }
    }

    /// Fill `buffers.stored`; gives the number of bytes.
    pub(super) fn read(&self, t: &TensorPlan, source: &Source, buffers: &mut Buffers) -> Result<usize> {
        let Input::Stored { id, format, .. } = &t.input else { return Ok(0) };
        let bytes = self.stored_bytes(t);
        buffers.stored.set_len(bytes);
        source.read(*id, size(format, self.start) as u64, &mut buffers.stored)?;
        Ok(bytes)
    }

    /// From `buffers.stored` to `buffers.encoded`.
    pub(super) fn encode(
        &self,
        t: &TensorPlan,
        scales: &Scales,
        how: &Encoding<'_>,
        level: Level,
        buffers: &mut Buffers,
    ) -> Result<Fit, BadValue> {
        self.reorder(t, buffers);
        if t.is_copy() {
            // Values of double precision may be finite there and not here.
            if t.format.class == Class::Float && t.format.bytes <= 4 && how.non_finite == NonFinite::Refuse {
                self.staged(t, level, buffers, |_, values, _| check_finite(values))?;
            }
            std::mem::swap(&mut buffers.stored, &mut buffers.encoded);
            return Ok(Fit::default());
        }
        buffers.encoded.set_len(size(t.format, self.values));
        let encode = t.format.encoder().expect("the resolver checks the encoder");
        if let Input::Stored { scale: None, .. } = &t.input {
            return self.staged(t, level, buffers, |at, values, out| encode(level, values, &self.from(how, at), out));
        }
        self.decode(t, scales, level, buffers);
        encode(level, &buffers.decoded, &self.from(how, 0), &mut buffers.encoded)
    }

    /// How to encode the values from `at` on.
    fn from<'a>(&self, how: &Encoding<'a>, at: u64) -> Encoding<'a> {
        let from = |i: Importance<'a>| {
            let start = (self.start + at) % i.columns.len().max(1) as u64;
            Importance { start: start as usize, ..i }
        };
        Encoding { importance: how.importance.map(from), ..*how }
    }

    /// Decode some values at a time, so that they stay in the first-level cache, and hand them to `use_them` with
    /// their place and their share of `buffers.encoded` (nothing, where that has another length).
    fn staged(
        &self,
        t: &TensorPlan,
        level: Level,
        buffers: &mut Buffers,
        mut use_them: impl FnMut(u64, &[f32], &mut [u8]) -> Result<Fit, BadValue>,
    ) -> Result<Fit, BadValue> {
        let Input::Stored { format, .. } = &t.input else { return Ok(Fit::default()) };
        let decode = format.decoder().expect("the resolver checks the decoder");
        let mut fit = Fit::default();
        let mut done = 0;
        while done < self.values {
            let count = STAGE_VALUES.min(self.values - done);
            buffers.decoded.set_len(count as usize);
            let from = size(format, done)..size(format, done + count);
            decode(level, &buffers.stored[from], &mut buffers.decoded);
            let to = size(t.format, done)..size(t.format, done + count);
            let out = buffers.encoded.get_mut(to).unwrap_or_default();
            fit += use_them(done, &buffers.decoded, out).map_err(|bad| bad.shifted(done as usize))?;
            done += count;
        }
        Ok(fit)
    }

    /// Zeros among the values of `buffers.encoded`.
    pub(super) fn zeros(&self, t: &TensorPlan, level: Level, buffers: &mut Buffers) -> u64 {
        let Some(decode) = t.format.decoder() else { return 0 };
        let stage = size(t.format, STAGE_VALUES);
        let mut zeros = 0;
        for bytes in buffers.encoded.chunks(stage) {
            buffers.decoded.set_len(bytes.len() / t.format.bytes * t.format.block);
            decode(level, bytes, &mut buffers.decoded);
            zeros += buffers.decoded.iter().filter(|v| **v == 0.0).count() as u64;
        }
        zeros
    }

    /// Rearrange the rows in `buffers.stored`. A piece starts at a head, so rows count from its start.
    fn reorder(&self, t: &TensorPlan, buffers: &mut Buffers) {
        let Input::Stored { format, order, .. } = &t.input else { return };
        if *order == Reorder::None {
            return;
        }
        let row_bytes = size(format, row_values(t));
        buffers.reordered.set_len(buffers.stored.len());
        for (row, to) in buffers.reordered.chunks_exact_mut(row_bytes).enumerate() {
            let from = order.source_row(row as u64) as usize * row_bytes;
            to.copy_from_slice(&buffers.stored[from..from + row_bytes]);
        }
        // The bytes as stored were hashed before: the buffers may change places.
        std::mem::swap(&mut buffers.stored, &mut buffers.reordered);
    }

    /// From `buffers.stored` to `buffers.decoded`.
    fn decode(&self, t: &TensorPlan, scales: &Scales, level: Level, buffers: &mut Buffers) {
        let count = self.values as usize;
        buffers.decoded.set_len(count);
        match &t.input {
            Input::Computed(values) => {
                buffers.decoded.copy_from_slice(&values[self.start as usize..][..count]);
            }
            Input::Stored { format, order, scale, .. } => {
                let decode = format.decoder().expect("the resolver checks the decoder");
                decode(level, &buffers.stored, &mut buffers.decoded);
                if let Some(scale) = scale {
                    scales.apply(scale, *order, t.shape.cols(), self.start, &mut buffers.decoded);
                }
            }
        }
    }

    /// Its bytes in the output: place from the tensor's start, and number.
    pub(super) fn output_range(&self, t: &TensorPlan) -> (u64, usize) {
        (self.output_offset(t), size(t.format, self.values))
    }

    /// From `buffers.stored` to values in `buffers.decoded` and bytes in `buffers.encoded`, whichever can be had.
    pub(super) fn rederive(
        &self,
        t: &TensorPlan,
        scales: &Scales,
        how: &Encoding<'_>,
        level: Level,
        buffers: &mut Buffers,
    ) -> (bool, bool) {
        self.reorder(t, buffers);
        let copy = t.is_copy();
        let readable = match &t.input {
            Input::Stored { format, .. } => format.decoder().is_some(),
            Input::Computed(_) => true,
        };
        if readable {
            self.decode(t, scales, level, buffers);
        }
        if copy {
            buffers.copy_stored();
            return (readable, true);
        }
        let Some(encode) = t.format.encoder().filter(|_| readable) else { return (readable, false) };
        buffers.encoded.set_len(size(t.format, self.values));
        let done = encode(level, &buffers.decoded, &self.from(how, 0), &mut buffers.encoded);
        (true, done.is_ok())
    }

    /// The error for a value, with the name and place that it has in the source.
    pub(super) fn bad_value(&self, t: &TensorPlan, source: &Source, bad: BadValue) -> Error {
        let (name, order) = match &t.input {
            Input::Stored { id, order, .. } => (&source.tensor(*id).name, *order),
            Input::Computed(_) => (&t.name, Reorder::None),
        };
        let place = |index: usize| {
            let (at, row) = (self.start + index as u64, row_values(t).max(1));
            let at = order.source_row(at / row) * row + at % row;
            let cols = t.shape.cols().max(1);
            (at / cols, at % cols)
        };
        let tensor = name.clone();
        match bad {
            BadValue::NonFinite { index, value } => {
                let (row, col) = place(index);
                Error::NonFinite { tensor, row, col, value }
            }
            BadValue::Overflow { index, value } => {
                let (row, col) = place(index);
                Error::Overflow { tensor, row, col, value, format: t.format.name }
            }
        }
    }
}

/// Floats that are taken over as they are lose nothing, but NaN and infinity are still an error.
fn check_finite(values: &[f32]) -> Result<Fit, BadValue> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(BadValue::NonFinite { index, value: values[index] }),
        None => Ok(Fit::default()),
    }
}

fn size(format: &Format, values: u64) -> usize {
    format.size_of(values).expect("pieces are whole blocks") as usize
}

/// The scales of block-scaled float8 matrices.
pub(super) struct Scales {
    tables: BTreeMap<TensorId, Table>,
}

struct Table {
    name: String,
    hash: blake3::Hash,
    values: Vec<f32>,
}

impl Scales {
    /// Bytes that they take.
    pub(super) fn memory(plan: &Plan) -> u64 {
        let scales = plan.tensors.iter().filter_map(|t| match &t.input {
            Input::Stored { scale: Some(s), .. } => {
                Some(t.shape.rows().div_ceil(s.rows) * t.shape.cols().div_ceil(s.cols) * 4)
            }
            _ => None,
        });
        scales.sum()
    }

    /// Read all of them: they are some thousandths of the weights.
    pub(super) fn read(plan: &Plan, source: &Source, level: Level) -> Result<Scales> {
        let mut tables = BTreeMap::new();
        for t in &plan.tensors {
            let Input::Stored { scale: Some(scale), .. } = &t.input else { continue };
            let info = source.tensor(scale.id);
            let mut bytes = vec![0; info.bytes as usize];
            source.read(scale.id, 0, &mut bytes)?;
            let mut values = vec![0.0; info.shape.values() as usize];
            info.format.decoder().expect("the resolver checks the decoder")(level, &bytes, &mut values);
            tables.insert(scale.id, Table { name: info.name.clone(), hash: blake3::hash(&bytes), values });
        }
        Ok(Scales { tables })
    }

    /// Multiply whole rows that start at value `start`.
    fn apply(&self, scale: &BlockScale, order: Reorder, cols: u64, start: u64, values: &mut [f32]) {
        let Some(table) = self.tables.get(&scale.id) else { return };
        let per_row = cols.div_ceil(scale.cols) as usize;
        for (n, row) in values.chunks_mut(cols as usize).enumerate() {
            // Scales lie as the source has its rows.
            let block_row = (order.source_row(start / cols + n as u64) / scale.rows) as usize;
            let factors = &table.values[block_row * per_row..][..per_row];
            for (patch, factor) in row.chunks_mut(scale.cols as usize).zip(factors) {
                for v in patch {
                    *v *= factor;
                }
            }
        }
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = (String, blake3::Hash)> {
        self.tables.values().map(|t| (t.name.clone(), t.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scaling reordered rows is reordering scaled rows, also where a head does not divide the scale's rows.
    #[test]
    fn scales_lie_as_the_source_has_its_rows() {
        let (heads, size, cols) = (2, 6, 3);
        let scale = BlockScale { id: TensorId(0), rows: 4, cols: 2 };
        let values: Vec<f32> = (1..=6).map(|n| n as f32).collect();
        let table = Table { name: String::new(), hash: blake3::hash(b""), values: values.clone() };
        let scales = Scales { tables: BTreeMap::from([(TensorId(0), table)]) };
        let source = |row: u64, col: u64| (row * cols + col + 1) as f32;
        let order = Reorder::Interleave { size };
        for head in 0..heads {
            let start = head * size * cols;
            let rows = head * size..(head + 1) * size;
            let place = |row| (0..cols).map(move |col| (order.source_row(row), col));
            let mut found: Vec<f32> = rows.clone().flat_map(place).map(|(r, c)| source(r, c)).collect();
            scales.apply(&scale, order, cols, start, &mut found);
            let scaled = |(r, c): (u64, u64)| source(r, c) * values[(r / 4 * 2 + c / 2) as usize];
            assert_eq!(found, rows.flat_map(place).map(scaled).collect::<Vec<f32>>());
        }
    }
}
