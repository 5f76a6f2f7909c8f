//! What the 32-value formats share: checks and reductions in a fixed 16-lane order, and the f16 of a scale.
//!
//! Every sum and maximum runs down sixteen lanes and then folds 16 -> 8 -> 4 -> 2 -> 1, so that the result does not
//! depend on the width of the vectors it is compiled to.

use super::{BadValue, Fit, NonFinite};
use half::f16;

/// Values per block of q8_0, q4_0, q4_1, q5_0 and q5_1.
pub(super) const BLOCK: usize = 32;

/// True when no value is NaN or infinite.
#[inline(always)]
pub(super) fn all_finite(x: &[f32]) -> bool {
    let mut bad = 0u32;
    for v in x {
        bad |= u32::from(v.to_bits() & 0x7f80_0000 == 0x7f80_0000);
    }
    bad == 0
}

/// The first NaN or infinity of a slice that is known to hold one.
#[cold]
pub(super) fn non_finite(x: &[f32], base: usize) -> BadValue {
    let at = x.iter().position(|v| !v.is_finite()).unwrap_or(0);
    BadValue::NonFinite { index: base + at, value: x[at] }
}

#[inline(always)]
fn fold_max(mut lanes: [f32; 16]) -> f32 {
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            lanes[i] = if lanes[i + width] > lanes[i] { lanes[i + width] } else { lanes[i] };
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
pub(super) fn fold_sum(mut lanes: [f32; 16]) -> f32 {
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest magnitude.
#[inline(always)]
pub(super) fn max_abs(x: &[f32; BLOCK]) -> f32 {
    let mut lanes = [0f32; 16];
    for i in 0..16 {
        let (a, b) = (x[i].abs(), x[i + 16].abs());
        lanes[i] = if b > a { b } else { a };
    }
    fold_max(lanes)
}

/// The value with the largest magnitude; the first one among equals.
#[inline(always)]
pub(super) fn signed_max(x: &[f32; BLOCK]) -> f32 {
    let top = max_abs(x);
    let mut at = BLOCK - 1;
    for i in (0..BLOCK).rev() {
        if x[i].abs() == top {
            at = i;
        }
    }
    x[at]
}

/// Smallest and largest value.
#[inline(always)]
pub(super) fn min_max(x: &[f32; BLOCK]) -> (f32, f32) {
    let (mut low, mut high) = ([0f32; 16], [0f32; 16]);
    for i in 0..16 {
        let (a, b) = (x[i], x[i + 16]);
        high[i] = if b > a { b } else { a };
        low[i] = if b < a { -b } else { -a };
    }
    (-fold_max(low), fold_max(high))
}

/// 1 / d, or 0 where that is not finite: blocks this small encode to zeros.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The half-precision bits of a scale, round half to even; an overflow is an error at `index`.
#[inline(always)]
pub(super) fn half_bits(scale: f32, index: usize) -> Result<[u8; 2], BadValue> {
    let half = f16::from_f32_const(scale);
    if half.is_infinite() {
        return Err(BadValue::Overflow { index, value: scale });
    }
    Ok(half.to_le_bytes())
}

/// The value of a stored scale.
#[inline(always)]
pub(super) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32_const()
}

/// Add one block's squares to `fit`.
#[inline(always)]
pub(super) fn measure(x: &[f32; BLOCK], decoded: &[f32; BLOCK], fit: &mut Fit) {
    let (mut error, mut energy) = ([0f32; 16], [0f32; 16]);
    for i in 0..16 {
        let (a, b) = (decoded[i] - x[i], decoded[i + 16] - x[i + 16]);
        error[i] = a * a + b * b;
        energy[i] = x[i] * x[i] + x[i + 16] * x[i + 16];
    }
    fit.error += f64::from(fold_sum(error));
    fit.energy += f64::from(fold_sum(energy));
}

/// A block format of 32 values: the block's own arithmetic, driven over rows by [`encode_blocks`].
pub(super) trait Block32 {
    /// Bytes of one block.
    const BYTES: usize;

    /// Encode finite values; `index` is where the block starts, for errors.
    fn encode_block(x: &[f32; BLOCK], index: usize, out: &mut [u8]) -> Result<(), BadValue>;

    /// Decode one block.
    fn decode_block(bytes: &[u8], y: &mut [f32; BLOCK]);
}

/// Encode block after block, measuring what was lost.
#[inline(always)]
pub(super) fn encode_blocks<B: Block32>(src: &[f32], keep: NonFinite, dst: &mut [u8]) -> Result<Fit, BadValue> {
    let mut fit = Fit::default();
    let mut decoded = [0f32; BLOCK];
    for (n, (x, out)) in src.as_chunks::<BLOCK>().0.iter().zip(dst.chunks_exact_mut(B::BYTES)).enumerate() {
        let index = n * BLOCK;
        if !all_finite(x) {
            if keep == NonFinite::Refuse {
                return Err(non_finite(x, index));
            }
            out.fill(0);
            out[..2].copy_from_slice(&f16::NAN.to_le_bytes());
            continue;
        }
        B::encode_block(x, index, out)?;
        B::decode_block(out, &mut decoded);
        measure(x, &decoded, &mut fit);
    }
    Ok(fit)
}

/// Decode block after block.
#[inline(always)]
pub(super) fn decode_blocks<B: Block32>(src: &[u8], dst: &mut [f32]) {
    for (bytes, y) in src.chunks_exact(B::BYTES).zip(dst.as_chunks_mut::<BLOCK>().0) {
        B::decode_block(bytes, y);
    }
}

/// Two 4-bit codes a byte: element j in the low half, j + 16 in the high half.
#[inline(always)]
pub(super) fn pack_nibbles(q: &[u8; BLOCK], out: &mut [u8]) {
    for i in 0..16 {
        out[i] = (q[i] & 15) | (q[i + 16] << 4);
    }
}

/// The reverse of [`pack_nibbles`].
#[inline(always)]
pub(super) fn unpack_nibbles(bytes: &[u8], q: &mut [u8; BLOCK]) {
    for i in 0..16 {
        q[i] = bytes[i] & 15;
        q[i + 16] = bytes[i] >> 4;
    }
}

/// Bit 4 of element j at bit j, little-endian.
#[inline(always)]
pub(super) fn pack_fifth_bits(q: &[u8; BLOCK], out: &mut [u8]) {
    let mut bits = 0u32;
    for (j, code) in q.iter().enumerate() {
        bits |= u32::from(code >> 4) << j;
    }
    out[..4].copy_from_slice(&bits.to_le_bytes());
}

/// The reverse of [`pack_fifth_bits`], added to the low four bits already in `q`.
#[inline(always)]
pub(super) fn unpack_fifth_bits(bytes: &[u8], q: &mut [u8; BLOCK]) {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for (j, code) in q.iter_mut().enumerate() {
        *code |= ((bits >> j & 1) << 4) as u8;
    }
}

/// Bounds of `worst`: the share of the scale that rounding a value costs, what the f16 of the scale adds for codes up
/// to `codes`, and the coarse steps of f16 near zero.
pub(super) fn worst_of(scale: f32, steps: f32, codes: f32) -> f32 {
    let scale = scale.abs();
    scale * steps * 1.0001 + codes * (scale * 2f32.powi(-11) + 2f32.powi(-25))
}

/// [`worst_of`] for formats with a scale and a minimum, whose f16 rounding shifts the whole block.
pub(super) fn worst_affine(x: &[f32], codes: f32) -> f32 {
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    worst_of((high - low) / codes, 0.5, codes) + low.abs() * 2f32.powi(-11) + 2f32.powi(-25)
}

/// Sum of squares, sixteen lanes at a time.
#[inline(always)]
pub(super) fn energy(x: &[f32]) -> f64 {
    let mut total = 0.0;
    for part in x.chunks(256) {
        let (whole, rest) = part.as_chunks::<16>();
        let mut lanes = [0f32; 16];
        for v in whole {
            for i in 0..16 {
                lanes[i] += v[i] * v[i];
            }
        }
        for (i, v) in rest.iter().enumerate() {
            lanes[i] += v * v;
        }
        total += f64::from(fold_sum(lanes));
    }
    total
}

/// [`measure`] for any length up to a stage of a float format.
#[inline(always)]
pub(super) fn measure_slice(x: &[f32], decoded: &[f32]) -> Fit {
    let mut error = [0f32; 16];
    let (a, a_rest) = x.as_chunks::<16>();
    let (b, b_rest) = decoded.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            let e = b[i] - a[i];
            error[i] += e * e;
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        let e = b - a;
        error[i] += e * e;
    }
    Fit { error: f64::from(fold_sum(error)), energy: energy(x) }
}
