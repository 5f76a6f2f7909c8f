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
        let energy = self.values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        let mut fit = Fit { error: 0.0, energy };
        let mut zero = |i: usize| {
            bytes[i * format.bytes..][..format.bytes].fill(0);
            fit.error += f64::from(self.values[i]) * f64::from(self.values[i]);
        };
        match selection {
            Selection::Lowest { zeros, group } => {
                for (n, scores) in self.scores.chunks(*group).enumerate() {
                    lowest(scores, *zeros, &mut self.sorted, |i| zero(n * group + i));
                }
            }
            Selection::Below { bits, equal_until } => {
                let start = row * cols as u64;
                let goes = |i: u64, score: u32| score < *bits || score == *bits && start + i < *equal_until;
                let scores = self.scores.iter().enumerate();
                scores.filter(|(i, score)| goes(*i as u64, **score)).for_each(|(i, _)| zero(i));
            }
        }
        fit
    }
}

/// Bits of |value| times its column's norm: their order is that of the scores. NaN comes last.
pub(super) fn scores<'a>(values: &'a [f32], norms: Option<&'a Vec<f32>>) -> impl Iterator<Item = u32> + 'a {
    let score = move |(i, value): (usize, &f32)| norms.map_or(*value, |norms| value * norms[i]).abs().to_bits();
    values.iter().enumerate().map(score)
}

/// Call `take` with the positions of the `count` lowest scores; of equal ones the first.
fn lowest(scores: &[u32], count: usize, sorted: &mut Vec<u32>, mut take: impl FnMut(usize)) {
    if count == 0 {
        return;
    }
    sorted.clear();
    sorted.extend_from_slice(scores);
    let (below, threshold, _) = sorted.select_nth_unstable(count - 1);
    // Everything left of the threshold is at most as large.
    let threshold = *threshold;
    let mut equal = count - below.iter().filter(|score| **score < threshold).count();
    for (i, score) in scores.iter().enumerate() {
        if *score < threshold {
            take(i);
        } else if *score == threshold && equal > 0 {
            equal -= 1;
            take(i);
        }
    }
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
        let mut row = Row { masked: self, values: Vec::new(), scores: Vec::new(), sorted: Vec::new() };
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
                    let mut found = Vec::new();
                    lowest(&scores, count, &mut Vec::new(), |i| found.push(i));
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
