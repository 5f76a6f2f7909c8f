//! One threshold for the magnitudes of a tensor or of a whole model, exact, in bounded memory.
//!
//! The bits of magnitudes are ordered as the magnitudes are. A first pass counts their upper halves, a second one the
//! lower halves of those that share the threshold's upper half, a third one finds where the last equal one goes.

use super::mask::{Selection, scores};
use super::pieces::{Piece, Reader};
use crate::error::Result;
use crate::tensor::TensorId;
use std::sync::{Mutex, PoisonError};

/// Values of half a word.
const HALVES: usize = 1 << 16;

/// Which weights of each tensor go, so that `zeros` of all have gone: the lowest, and of equal ones those that come first
/// in the order of `tensors`.
pub(super) fn selections(reader: &Reader<'_>, tensors: &[TensorId], zeros: u64) -> Result<Vec<Selection>> {
    let upper = histogram(reader, tensors, |bits| Some(bits >> 16))?;
    let (high, below_high) = place(&upper, zeros);
    let lower = histogram(reader, tensors, |bits| (bits >> 16 == high).then_some(bits & 0xffff))?;
    let (low, below_low) = place(&lower, zeros - below_high);
    let bits = high << 16 | low;
    let equal = |_: &Piece, values: &[f32]| scores(values, None).filter(|b| *b == bits).count() as u64;
    let mut left = zeros - below_high - below_low;
    let mut until = vec![0; tensors.len()];
    for (piece, count) in reader.each(tensors, equal)? {
        let end = if left >= count { piece.end() } else { nth_equal(reader, tensors, &piece, bits, left)? };
        if left > 0 {
            until[piece.tensor] = end;
        }
        left -= count.min(left);
    }
    Ok(until.into_iter().map(|equal_until| Selection::Below { bits, equal_until }).collect())
}

/// How often each half of a word occurs among the magnitudes' bits.
fn histogram(reader: &Reader<'_>, tensors: &[TensorId], half: impl Fn(u32) -> Option<u32> + Sync) -> Result<Vec<u64>> {
    let all = Mutex::new(vec![0u64; HALVES]);
    reader.each(tensors, |_, values| {
        let mut counts = vec![0u32; HALVES];
        scores(values, None).filter_map(&half).for_each(|half| counts[half as usize] += 1);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(count));
    })?;
    Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Where number `n` of all lies, and how many lie before that place.
fn place(counts: &[u64], n: u64) -> (u32, u64) {
    let mut below = 0;
    for (place, count) in counts.iter().enumerate() {
        if n < below + count {
            return (place as u32, below);
        }
        below += count;
    }
    (0, 0)
}

/// The position after the `n`-th weight of these bits.
fn nth_equal(reader: &Reader<'_>, tensors: &[TensorId], piece: &Piece, bits: u32, n: u64) -> Result<u64> {
    let values = reader.values(tensors[piece.tensor], piece)?;
    let mut equal = scores(&values, None).enumerate().filter(|(_, b)| *b == bits);
    let last = equal.nth((n.max(1) - 1) as usize).map_or(0, |(i, _)| i as u64 + 1);
    Ok(piece.start + last)
}
