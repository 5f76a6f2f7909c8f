//! Sparse matrices as the values that are not zero, and a bit for each place.
//!
//! A matrix `X.weight` of `rows` x `cols` becomes, row after row:
//!
//! | tensor | dtype | shape | |
//! |---|---|---|---|
//! | `X.compressed` | as the weights, or I8 | `[kept]` | the values that are not zero |
//! | `X.bitmask` | U8 | `[rows, ceil(cols / 8)]` | bit `i` of byte `b` tells of column `8 b + i` |
//! | `X.row_offsets` | I64 | `[rows]` | where each row's values begin |
//! | `X.shape` | I64 | `[2]` | rows, cols |
//! | `X.scale` | F16 | `[rows, cols / 32]` | with I8 values only: what 32 columns are multiplied with |
//!
//! Without scales this is `sparse-bitmask` of compressed-tensors, which config.json names under `sparsity_config`. With
//! them it is tersor's own `bitmask-int8`: the codes and scales of q8_0 without its zeros. Both are expanded when they are
//! opened, so that every command reads them as dense matrices, bit by bit what was stored.

use super::{Content, Derive, Given, Origin, Source};
use crate::error::{Error, Result};
use crate::machine::in_parallel;
use crate::progress::Progress;
use crate::tensor::{Shape, TensorId, TensorInfo};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use tersor_kernels::{Class, Format};

/// Where config.json tells of the layout.
const TABLE: &str = "quantization_config";
const FLOATS: &str = "sparse-bitmask";
const INT8: &str = "bitmask-int8";
/// `quant_method` of tersor's own layout.
const METHOD: &str = "tersor";

/// Bytes that are read at a time, unless a row is longer.
const STAGE: u64 = 1 << 20;

/// Bytes of a scale of q8_0.
const SCALE: usize = 2;

/// True for a config.json that tells of one of the layouts.
pub(crate) fn describes(config: &Map<String, Value>) -> bool {
    let Some(table) = config.get(TABLE) else { return false };
    table["sparsity_config"]["format"] == FLOATS || table["quant_method"] == METHOD && table["format"] == INT8
}

/// A matrix by rows: stored bytes, apart as values and scales.
#[derive(Debug)]
struct Rows {
    source: Arc<Source>,
    id: TensorId,
    /// Where the kept values of each row begin, and where those of the last one end.
    offsets: Vec<u64>,
}

impl Rows {
    fn format(&self) -> &'static Format {
        self.source.tensor(self.id).format
    }

    /// Bytes of one kept value.
    fn width(&self) -> usize {
        width(self.format())
    }

    fn row_bytes(&self) -> u64 {
        row_bytes(self.source.tensor(self.id))
    }

    /// Call `look` with the number and stored bytes of some rows, one after another.
    fn each(&self, rows: Range<u64>, mut look: impl FnMut(u64, &[u8])) -> Result<()> {
        let size = self.row_bytes();
        let step = (STAGE / size.max(1)).max(1);
        let mut bytes = Vec::new();
        for first in rows.clone().step_by(step as usize) {
            let count = step.min(rows.end - first);
            bytes.resize((count * size) as usize, 0);
            self.source.read(self.id, first * size, &mut bytes)?;
            bytes.chunks_exact(size as usize).zip(first..).for_each(|(row, n)| look(n, row));
        }
        Ok(())
    }
}

fn row_bytes(tensor: &TensorInfo) -> u64 {
    tensor.bytes / tensor.shape.rows().max(1)
}

fn width(format: &Format) -> usize {
    if format.class == Class::Block { 1 } else { format.bytes }
}

/// The values of a row without the scales of its blocks.
fn values<'r>(format: &Format, row: &'r [u8]) -> Cow<'r, [u8]> {
    if format.class != Class::Block {
        return Cow::Borrowed(row);
    }
    let mut values = Vec::with_capacity(row.len());
    row.chunks_exact(format.bytes).for_each(|block| values.extend_from_slice(&block[SCALE..]));
    Cow::Owned(values)
}

/// Call a function over values of as many bytes.
macro_rules! by_width {
    ($width:expr, $function:ident($($values:expr),*)) => {
        match $width {
            1 => $function::<1>($($values),*),
            2 => $function::<2>($($values),*),
            4 => $function::<4>($($values),*),
            _ => $function::<8>($($values),*),
        }
    };
}

/// What of a matrix a tensor holds.
#[derive(Clone, Copy, Debug)]
enum Part {
    Kept,
    Bits,
    Scales,
}

/// A part of a matrix, computed as it is read.
#[derive(Debug)]
struct Packed {
    rows: Arc<Rows>,
    part: Part,
}

impl Packed {
    /// Where the bytes of row `n` begin.
    fn start(&self, n: u64) -> u64 {
        let cols = self.rows.source.tensor(self.rows.id).shape.cols();
        match self.part {
            Part::Kept => self.rows.offsets[n as usize] * self.rows.width() as u64,
            Part::Bits => n * cols.div_ceil(8),
            Part::Scales => n * cols / self.rows.format().block as u64 * SCALE as u64,
        }
    }

    fn of_row(&self, row: &[u8]) -> Vec<u8> {
        let format = self.rows.format();
        let values = values(format, row);
        match self.part {
            Part::Kept => by_width!(self.rows.width(), kept(&values)),
            Part::Bits => by_width!(self.rows.width(), bits(&values)),
            Part::Scales => row.chunks_exact(format.bytes).flat_map(|block| &block[..SCALE]).copied().collect(),
        }
    }
}

/// The values that are not zero. Which ones is hard to predict, so nothing branches on it.
fn kept<const N: usize>(values: &[u8]) -> Vec<u8> {
    let values = values.as_chunks::<N>().0;
    let (mut kept, mut count) = (vec![[0; N]; values.len()], 0);
    for value in values {
        kept[count] = *value;
        count += usize::from(*value != [0; N]);
    }
    kept.truncate(count);
    kept.into_flattened()
}

/// A bit for each value that is not zero.
fn bits<const N: usize>(values: &[u8]) -> Vec<u8> {
    let byte = |eight: &[[u8; N]]| eight.iter().rev().fold(0, |byte, value| byte << 1 | u8::from(*value != [0; N]));
    values.as_chunks::<N>().0.chunks(8).map(byte).collect()
}

/// How many values are not zero.
fn count<const N: usize>(values: &[u8]) -> u64 {
    values.as_chunks::<N>().0.iter().map(|value| u64::from(*value != [0; N])).sum()
}

impl Derive for Packed {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset + buffer.len() as u64;
        let rows = self.rows.offsets.len() as u64 - 1;
        // The last row that begins at or before the first byte, and the first one that begins after the last.
        let first = first_that(rows + 1, |n| self.start(n) > offset).saturating_sub(1);
        let last = first_that(rows, |n| self.start(n) >= end);
        self.rows.each(first..last, |n, row| {
            let (start, bytes) = (self.start(n), self.of_row(row));
            let here = start.max(offset)..(start + bytes.len() as u64).min(end);
            if here.start < here.end {
                let from = &bytes[(here.start - start) as usize..(here.end - start) as usize];
                buffer[(here.start - offset) as usize..(here.end - offset) as usize].copy_from_slice(from);
            }
        })
    }
}

/// The first of `count` numbers that `is_beyond` is true for, as it is for all after it; `count` if for none.
fn first_that(count: u64, is_beyond: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        (low, high) = if is_beyond(middle) { (low, middle) } else { (middle + 1, high) };
    }
    low
}

/// The checkpoint with the matrices `ids`, of floats or q8_0, in this layout. All weights of theirs are read once, to count
/// them. `progress` hears of bytes.
///
/// # Errors
/// Files that cannot be read, [`Error::Interrupted`].
pub fn packed(source: &Source, ids: &[TensorId], threads: usize, progress: &dyn Progress) -> Result<Source> {
    let inner = Arc::new(source.clone());
    let rows = in_parallel(threads, ids.len(), |n| counted(&inner, ids[n], progress))?;
    let rows: BTreeMap<TensorId, Arc<Rows>> = ids.iter().copied().zip(rows.into_iter().map(Arc::new)).collect();
    let mut tensors = Vec::new();
    for (n, tensor) in source.tensors().iter().enumerate() {
        match rows.get(&TensorId(n)) {
            Some(rows) => tensors.extend(parts(tensor, rows)),
            None => tensors.push((tensor.clone(), Content::Of(TensorId(n)))),
        }
    }
    let mut packed = source.with_tensors(tensors);
    if let Origin::HuggingFace { config, .. } = &mut packed.origin {
        let names = ids.iter().map(|id| module(&source.tensor(*id).name)).collect::<Vec<_>>();
        let int8 = ids.iter().any(|id| source.tensor(*id).format.class == Class::Block);
        let kept: u64 = rows.values().filter_map(|rows| rows.offsets.last()).sum();
        let all: u64 = ids.iter().map(|id| source.tensor(*id).shape.values()).sum();
        config.insert(TABLE.into(), table(int8, &names, 1.0 - kept as f64 / all.max(1) as f64));
    }
    Ok(packed)
}

fn counted(source: &Arc<Source>, id: TensorId, progress: &dyn Progress) -> Result<Rows> {
    let mut rows = Rows { source: Arc::clone(source), id, offsets: vec![0] };
    let (format, width, mut offsets) = (rows.format(), rows.width(), vec![0]);
    let all = source.tensor(id).shape.rows();
    rows.each(0..all, |_, row| {
        offsets.push(offsets.last().unwrap_or(&0) + by_width!(width, count(&values(format, row))));
    })?;
    rows.offsets = offsets;
    progress.advance(source.tensor(id).bytes);
    if progress.cancelled() { Err(Error::Interrupted) } else { Ok(rows) }
}

/// The name without `.weight`.
fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

fn parts(tensor: &TensorInfo, rows: &Arc<Rows>) -> Vec<(TensorInfo, Content)> {
    let module = module(&tensor.name);
    let [height, cols] = [tensor.shape.rows(), tensor.shape.cols()];
    let info = |part: &str, format: &str, dims: Vec<u64>| {
        let shape = Shape::new(dims).expect("not larger than the matrix");
        let format = Format::by_name(format).expect("a row of the table");
        let bytes = shape.values() * format.bytes as u64;
        TensorInfo { name: format!("{module}.{part}"), shape, format, bytes }
    };
    let of = |part| Content::Derived(Arc::new(Packed { rows: Arc::clone(rows), part }));
    let given = |numbers: &[u64]| {
        Content::Derived(Arc::new(Given(numbers.iter().flat_map(|n| (*n as i64).to_le_bytes()).collect())))
    };
    let (kept, starts) = rows.offsets.split_last().expect("one more than rows");
    let int8 = tensor.format.class == Class::Block;
    let mut parts = vec![
        (info("compressed", if int8 { "i8" } else { tensor.format.name }, vec![*kept]), of(Part::Kept)),
        (info("bitmask", "u8", vec![height, cols.div_ceil(8)]), of(Part::Bits)),
        (info("row_offsets", "i64", vec![height]), given(starts)),
        (info("shape", "i64", vec![2]), given(&[height, cols])),
    ];
    if int8 {
        parts.push((info("scale", "f16", vec![height, cols / tensor.format.block as u64]), of(Part::Scales)));
    }
    parts
}

/// What config.json says of the layout.
fn table(int8: bool, targets: &[&str], sparsity: f64) -> Value {
    if int8 {
        return json!({ "quant_method": METHOD, "format": INT8, "group_size": 32, "targets": targets });
    }
    json!({
        "quant_method": "compressed-tensors",
        "format": "dense",
        "quantization_status": "compressed",
        "config_groups": {},
        "ignore": [],
        "sparsity_config": {
            "format": FLOATS,
            "sparsity_structure": "unstructured",
            "global_sparsity": sparsity,
            "targets": targets,
            "ignore": [],
            "registry_requires_subclass": false,
        },
    })
}

/// A dense matrix, expanded as it is read.
#[derive(Debug)]
struct Expanded {
    source: Arc<Source>,
    format: &'static Format,
    cols: u64,
    kept: TensorId,
    bits: TensorId,
    scales: Option<TensorId>,
    /// As in [`Rows`].
    offsets: Vec<u64>,
}

impl Expanded {
    /// Put rows `rows` into `out`.
    fn expand(&self, rows: Range<u64>, out: &mut [u8]) -> Result<()> {
        let width = width(self.format);
        let offsets = &self.offsets[rows.start as usize..=rows.end as usize];
        let part = |id, start: u64, end: u64| -> Result<Vec<u8>> {
            let mut bytes = vec![0; (end - start) as usize];
            self.source.read(id, start, &mut bytes).map(|()| bytes)
        };
        let bits_of_row = self.cols.div_ceil(8);
        let bits = part(self.bits, rows.start * bits_of_row, rows.end * bits_of_row)?;
        let [first, last] = [offsets[0], offsets[offsets.len() - 1]].map(|kept| kept * width as u64);
        let kept = part(self.kept, first, last)?;
        let size = out.len() / (rows.end - rows.start) as usize;
        for (n, (row, bits)) in out.chunks_exact_mut(size).zip(bits.chunks_exact(bits_of_row as usize)).enumerate() {
            self.check(rows.start + n as u64, bits)?;
            let kept = &kept[(offsets[n] * width as u64 - first) as usize..];
            by_width!(width, spread(kept, bits, self.format, row));
        }
        let Some(scales) = self.scales else { return Ok(()) };
        let scales_of_row = self.cols / self.format.block as u64 * SCALE as u64;
        let scales = part(scales, rows.start * scales_of_row, rows.end * scales_of_row)?;
        let blocks = out.chunks_exact_mut(self.format.bytes);
        blocks.zip(scales.chunks_exact(SCALE)).for_each(|(block, scale)| block[..SCALE].copy_from_slice(scale));
        Ok(())
    }

    /// The bits of row `n` must be as many as its values, and within its columns.
    fn check(&self, n: u64, bits: &[u8]) -> Result<()> {
        let wanted = self.offsets[n as usize + 1] - self.offsets[n as usize];
        let found: u64 = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let beyond = !self.cols.is_multiple_of(8) && bits.last().is_some_and(|byte| byte >> (self.cols % 8) != 0);
        if found == wanted && !beyond {
            return Ok(());
        }
        let place = format!("tensor `{}`, row {n}", self.source.tensor(self.bits).name);
        let wanted = format!("{wanted} within {} columns, as `row_offsets` has it", self.cols);
        Err(Error::malformed(&self.source.path, place, format!("{found} bits"), wanted))
    }
}

/// Values of a row to where its bits are set, zeros elsewhere; places of scales are left.
fn spread<const N: usize>(kept: &[u8], bits: &[u8], format: &Format, row: &mut [u8]) {
    row.fill(0);
    let (mut kept, start) = (kept.as_chunks::<N>().0.iter(), format.bytes - format.block * N);
    let shift = format.block.trailing_zeros();
    for (byte, bits) in bits.iter().enumerate() {
        let mut left = *bits;
        while left != 0 {
            let col = 8 * byte + left.trailing_zeros() as usize;
            let at = (col >> shift) * format.bytes + start + (col & (format.block - 1)) * N;
            row[at..at + N].copy_from_slice(kept.next().expect("as many as bits"));
            left &= left - 1;
        }
    }
}

impl Derive for Expanded {
    fn kept(&self, n: u64) -> Option<u64> {
        Some(self.offsets[n as usize + 1] - self.offsets[n as usize])
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let size = self.format.size_of(self.cols).expect("checked when it was opened").max(1);
        let (end, step) = (offset + buffer.len() as u64, (STAGE / size).max(1));
        let mut part = Vec::new();
        let last = end.div_ceil(size);
        for first in (offset / size..last).step_by(step as usize) {
            let rows = first..last.min(first + step);
            let whole = rows.start * size..rows.end * size;
            let here = whole.start.max(offset)..whole.end.min(end);
            let out = &mut buffer[(here.start - offset) as usize..(here.end - offset) as usize];
            if here == whole {
                self.expand(rows, out)?;
                continue;
            }
            part.resize((whole.end - whole.start) as usize, 0);
            self.expand(rows, &mut part)?;
            out.copy_from_slice(&part[(here.start - whole.start) as usize..][..out.len()]);
        }
        Ok(())
    }
}

/// The checkpoint with dense matrices in place of those in this layout.
pub(super) fn expanded(source: Source) -> Result<Source> {
    let Origin::HuggingFace { config, .. } = &source.origin else { return Ok(source) };
    if !describes(config) {
        return Ok(source);
    }
    let inner = Arc::new(source);
    let (mut tensors, mut used) = (Vec::new(), HashSet::new());
    for tensor in inner.tensors() {
        let Some(module) = tensor.name.strip_suffix(".bitmask") else { continue };
        tensors.push(expanded_matrix(&inner, module)?);
        used.extend(["compressed", "bitmask", "row_offsets", "shape", "scale"].map(|part| format!("{module}.{part}")));
    }
    let others = inner.tensors().iter().enumerate().filter(|(_, t)| !used.contains(&t.name));
    tensors.extend(others.map(|(n, t)| (t.clone(), Content::Of(TensorId(n)))));
    // As a dense folder has them, so that what is made of both is the same.
    tensors.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let mut expanded = inner.with_tensors(tensors);
    if let Origin::HuggingFace { config, .. } = &mut expanded.origin {
        config.remove(TABLE);
    }
    Ok(expanded)
}

fn expanded_matrix(source: &Arc<Source>, module: &str) -> Result<(TensorInfo, Content)> {
    let find = |part: &str| source.find(&format!("{module}.{part}"));
    let wrong = |part: &str, found: String, wanted: &str| {
        Err(Error::malformed(&source.path, format!("tensor `{module}.{part}`"), found, wanted))
    };
    let need = |part: &str| {
        let name = format!("{module}.{part}");
        find(part).ok_or_else(|| Error::MissingTensors { names: vec![name] })
    };
    let (kept, bits, offsets, shape) = (need("compressed")?, need("bitmask")?, need("row_offsets")?, need("shape")?);
    let dims = integers(source, shape, 2)?;
    let [Some(height), Some(cols)] = [0, 1].map(|n| dims.get(n).copied().filter(|n| *n > 0)) else {
        return wrong("shape", format!("{dims:?}"), "rows and columns");
    };
    if source.tensor(bits).shape.dims() != [height, cols.div_ceil(8)] || source.tensor(bits).format.name != "u8" {
        return wrong("bitmask", source.tensor(bits).shape.to_string(), "a bit for each value, in u8");
    }
    let stored = source.tensor(kept);
    let (scales, name) =
        if stored.format.name == "i8" { (Some(need("scale")?), "q8_0") } else { (None, stored.format.name) };
    let format = Format::by_name(name).expect("a row of the table");
    let plain = format.class == Class::Block || format.class == Class::Float && format.decoder().is_some();
    let (Some(info), true) = (dense(module, height, cols, format), plain && stored.shape.rank() == 1) else {
        return wrong("compressed", format!("{} of shape {}", stored.format.name, stored.shape), "values in a row");
    };
    if let Some(scales) = scales.map(|id| source.tensor(id))
        && (scales.shape.dims() != [height, cols / format.block as u64] || scales.format.name != "f16")
    {
        return wrong(
            "scale",
            format!("{} of shape {}", scales.format.name, scales.shape),
            "a scale for 32 columns, in f16",
        );
    }
    let mut offsets = integers(source, offsets, height)?;
    offsets.push(stored.shape.values());
    if offsets.len() as u64 != height + 1
        || offsets[0] != 0
        || offsets.windows(2).any(|w| w[1] < w[0] || w[1] - w[0] > cols)
    {
        return wrong("row_offsets", "other numbers".into(), "where each row's values begin, in order");
    }
    let content = Expanded { source: Arc::clone(source), format, cols, kept, bits, scales, offsets };
    Ok((info, Content::Derived(Arc::new(content))))
}

fn dense(module: &str, height: u64, cols: u64, format: &'static Format) -> Option<TensorInfo> {
    let shape = Shape::new(vec![height, cols])?;
    let bytes = format.size_of(cols)?.checked_mul(height)?;
    Some(TensorInfo { name: format!("{module}.weight"), shape, format, bytes })
}

/// A vector of at most `most` I64 that are not below 0.
fn integers(source: &Source, id: TensorId, most: u64) -> Result<Vec<u64>> {
    let tensor = source.tensor(id);
    let wrong = |found: String| {
        let wanted = format!("at most {most} numbers of i64, none below 0");
        Err(Error::malformed(&source.path, format!("tensor `{}`", tensor.name), found, wanted))
    };
    if tensor.format.name != "i64" || tensor.shape.values() > most {
        return wrong(format!("{} of {}", tensor.shape, tensor.format.name));
    }
    let mut bytes = vec![0; tensor.bytes as usize];
    source.read(id, 0, &mut bytes)?;
    let numbers = bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")));
    match numbers.clone().find(|n| *n < 0) {
        Some(negative) => wrong(negative.to_string()),
        None => Ok(numbers.map(|n| n as u64).collect()),
    }
}
