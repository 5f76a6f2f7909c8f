//! A tensor with zeros where weights were pruned.

use super::take::within;
use crate::error::Result;
use crate::source::{Derive, Source};
use crate::tensor::TensorId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tersor_kernels::{Fit, Level};

/// Which weights go. Scores are compared as f32, and among equal ones the lower position goes first.
#[derive(Clone, Debug)]
pub(super) enum Selection {
    /// The lowest `zeros` of every `group` neighbours in a row.
    Lowest {
        /// Weights that go.
        zeros: usize,
        /// Of so many: a row, or the M of N:M.
        group: usize,
    },
    /// All scores below a threshold, and those that equal it at positions below `equal_until`.
    Below {
        /// Bits of the threshold as f32.
        bits: u32,
        /// A position in the tensor.
        equal_until: u64,
    },
}

/// A pruned tensor. Whole rows are decided at a time, as they are read.
#[derive(Debug)]
pub(super) struct Masked {
    pub(super) source: Arc<Source>,
    pub(super) id: TensorId,
    pub(super) selection: Selection,
    /// Scores are magnitudes times these, column by column; without them, magnitudes.
    pub(super) norms: Option<Arc<Vec<f32>>>,
    pub(super) level: Level,
    /// By the first row of a read, what its rows lost.
    lost: Mutex<BTreeMap<u64, Fit>>,
}

impl Masked {
    pub(super) fn new(
        source: Arc<Source>,
        id: TensorId,
        selection: Selection,
        norms: Option<Arc<Vec<f32>>>,
        level: Level,
    ) -> Masked {
        Masked { source, id, selection, norms, level, lost: Mutex::default() }
    }

    /// Squares of the weights that went, and of all, once every row was read.
    pub(super) fn lost(&self) -> Fit {
        let mut sum = Fit::default();
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|fit| sum += *fit);
        sum
    }
}

/// What a read needs for one row.
struct Row<'a> {
    masked: &'a Masked,
    values: Vec<f32>,
    scores: Vec<u32>,
    sorted: Vec<u32>,
    goes: Vec<bool>,
}

impl Row<'_> {
    /// Put zeros into the bytes of row number `row`; gives what is lost.
    fn prune(&mut self, row: u64, bytes: &mut [u8]) -> Fit {
        let Masked { source, id, selection, norms, level, .. } = self.masked;
        let format = source.tensor(*id).format;
        let cols = bytes.len() / format.bytes;
        self.values.resize(cols, 0.0);
        format.decoder().expect("checked before")(*level, bytes, &mut self.values);
        self.scores.clear();
        self.scores.extend(scores(&self.values, norms.as_deref()));
        let goes = &mut self.goes;
        goes.clear();
        match selection {
            Selection::Lowest { zeros, group } => {
                self.scores.chunks(*group).for_each(|scores| lowest(scores, *zeros, &mut self.sorted, goes));
            }
            Selection::Below { bits, equal_until } => {
                let equal = equal_until.saturating_sub(row * cols as u64).min(cols as u64) as usize;
                let (first, last) = self.scores.split_at(equal);
                goes.extend(first.iter().map(|score| score <= bits));
                goes.extend(last.iter().map(|score| score < bits));
            }
        }
        let squares = self.values.iter().map(|v| f64::from(*v) * f64::from(*v));
        let error = squares.clone().zip(&*goes).map(|(square, goes)| if *goes { square } else { 0.0 }).sum();
        match format.bytes {
            2 => clear::<2>(bytes, goes),
            4 => clear::<4>(bytes, goes),
            _ => clear::<8>(bytes, goes),
        }
        Fit { error, energy: squares.sum() }
    }
}

/// Zeros in place of the values of `N` bytes that go. What goes is hard to predict, so nothing branches on it.
fn clear<const N: usize>(bytes: &mut [u8], goes: &[bool]) {
    for (value, goes) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(goes) {
        *value = if *goes { [0; N] } else { *value };
    }
}

/// Bits of |value| times its column's norm: their order is that of the scores. NaN comes last.
pub(super) fn scores<'a>(values: &'a [f32], norms: Option<&'a Vec<f32>>) -> impl Iterator<Item = u32> + 'a {
    let score = move |(i, value): (usize, &f32)| norms.map_or(*value, |norms| value * norms[i]).abs().to_bits();
    values.iter().enumerate().map(score)
}

/// For each position whether it is among the `count` lowest scores; of equal ones the first are.
fn lowest(scores: &[u32], count: usize, sorted: &mut Vec<u32>, goes: &mut Vec<bool>) {
    if count == 0 {
        goes.extend(scores.iter().map(|_| false));
        return;
    }
    sorted.clear();
    sorted.extend_from_slice(scores);
    let (below, threshold, _) = sorted.select_nth_unstable(count - 1);
    // Everything left of the threshold is at most as large.
    let threshold = *threshold;
    let mut equal = count - below.iter().filter(|score| **score < threshold).count();
    goes.extend(scores.iter().map(|score| {
        let counts = *score == threshold && equal > 0;
        equal -= usize::from(counts);
        *score < threshold || counts
    }));
}

impl Derive for Masked {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let tensor = self.source.tensor(self.id);
        self.source.read(self.id, offset, buffer)?;
        let row_bytes = tensor.shape.cols() * tensor.format.bytes as u64;
        if buffer.is_empty() || row_bytes == 0 {
            return Ok(());
        }
        let range = offset..offset + buffer.len() as u64;
        let (values, scores, sorted, goes) = Default::default();
        let mut row = Row { masked: self, values, scores, sorted, goes };
        let mut lost = Fit::default();
        let rows = range.start / row_bytes..range.end.div_ceil(row_bytes);
        for n in rows.clone() {
            let whole = n * row_bytes..(n + 1) * row_bytes;
            let here = whole.start.max(range.start)..whole.end.min(range.end);
            let out = &mut buffer[within(&here, range.start)];
            let fit = if here == whole {
                row.prune(n, out)
            } else {
                let mut bytes = vec![0; row_bytes as usize];
                self.source.read(self.id, whole.start, &mut bytes)?;
                let fit = row.prune(n, &mut bytes);
                out.copy_from_slice(&bytes[within(&here, whole.start)]);
                fit
            };
            // A row belongs to the read that has its beginning, so that none counts twice.
            if here.start == whole.start {
                lost += fit;
            }
        }
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(rows.start, lost);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against sorting all positions by score, then by place.
    #[test]
    fn the_lowest_go_and_of_equal_ones_the_first() {
        let mut state = 1u32;
        for len in [1, 2, 3, 4, 7, 8, 16, 33, 200] {
            for values in [2, 5, 1000] {
                let scores: Vec<u32> = (0..len)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 8) % values
                    })
                    .collect();
                let mut order: Vec<usize> = (0..len).collect();
                order.sort_by_key(|i| (scores[*i], *i));
                for count in [0, 1, len / 2, len - 1, len] {
                    let mut goes = Vec::new();
                    lowest(&scores, count, &mut Vec::new(), &mut goes);
                    let found: Vec<usize> = (0..len).filter(|i| goes[*i]).collect();
                    let mut wanted = order[..count].to_vec();
                    wanted.sort_unstable();
                    assert_eq!(found, wanted, "{count} of {scores:?}");
                }
            }
        }
    }

    #[test]
    fn scores_are_ordered_as_numbers() {
        let values = [0.0, -0.0, 1e-40, -0.5, 0.75, f32::INFINITY, -f32::NAN];
        let scores: Vec<u32> = scores(&values, None).collect();
        assert_eq!(scores[0], scores[1]);
        assert!(scores[1..].windows(2).all(|w| w[0] < w[1]), "{scores:?}");
    }
}
