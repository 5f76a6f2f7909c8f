//! What the float formats share: values staged a few at a time, measured in sixteen lanes.

use super::{BadValue, Fit, NonFinite, block32};
use crate::simd::Lanes;

/// Values converted at a time, so that the staging arrays stay in the first-level cache.
pub(super) const STAGE: usize = 256;

/// Refuse NaN and infinity.
#[inline(always)]
pub(super) fn check_finite<L: Lanes>(l: L, src: &[f32], keep: NonFinite) -> Result<(), BadValue> {
    if keep == NonFinite::Keep {
        return Ok(());
    }
    let (lanes, rest) = src.as_chunks::<16>();
    for (n, x) in lanes.iter().enumerate() {
        if l.any_non_finite(l.load(x)) {
            return Err(block32::non_finite(x, n * 16));
        }
    }
    for v in rest {
        if !v.is_finite() {
            return Err(block32::non_finite(rest, lanes.len() * 16));
        }
    }
    Ok(())
}

/// A finite value that became infinite.
#[inline(always)]
pub(super) fn check_overflow<L: Lanes>(l: L, x: &[f32], back: &[f32], base: usize) -> Result<(), BadValue> {
    let (lanes, rest) = back.as_chunks::<16>();
    let mut suspect = false;
    for y in lanes {
        suspect |= l.any_non_finite(l.load(y));
    }
    for y in rest {
        suspect |= !y.is_finite();
    }
    if suspect { find_overflow(x, back, base) } else { Ok(()) }
}

#[cold]
fn find_overflow(x: &[f32], back: &[f32], base: usize) -> Result<(), BadValue> {
    match x.iter().zip(back).position(|(x, y)| y.is_infinite() && x.is_finite()) {
        Some(at) => Err(BadValue::Overflow { index: base + at, value: x[at] }),
        None => Ok(()),
    }
}

/// Squares of the differences and of the values, sixteen lanes at a time; what is left over goes one by one.
#[inline(always)]
pub(super) fn measure<L: Lanes>(l: L, x: &[f32], back: &[f32]) -> Fit {
    let (mut error, mut energy) = (l.splat(0.0), l.splat(0.0));
    let ((a, a_rest), (b, b_rest)) = (x.as_chunks::<16>(), back.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        let a = l.load(a);
        let e = l.sub(l.load(b), a);
        error = l.add(error, l.mul(e, e));
        energy = l.add(energy, l.mul(a, a));
    }
    let mut fit = Fit { error: l.fold_sum(error).into(), energy: l.fold_sum(energy).into() };
    for (a, b) in a_rest.iter().zip(b_rest) {
        fit.error += f64::from((b - a) * (b - a));
        fit.energy += f64::from(a * a);
    }
    fit
}
