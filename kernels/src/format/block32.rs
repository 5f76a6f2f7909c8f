//! What the 32-value formats share: the walk over blocks, reductions in a fixed order, and the f16 of a scale.

use super::{BadValue, Decoding, Encoding, Fit, NonFinite};
use crate::simd::Lanes;
use half::f16;

/// Values per block of q8_0, q4_0, q4_1, q5_0 and q5_1.
pub(super) const BLOCK: usize = 32;

/// The bytes of a half-precision NaN.
pub(super) const NAN: [u8; 2] = f16::NAN.to_le_bytes();

/// The two halves of a block in registers.
pub(super) struct Pair<L: Lanes>(pub(super) L::F, pub(super) L::F);

impl<L: Lanes> Clone for Pair<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L: Lanes> Copy for Pair<L> {}

impl<L: Lanes> Pair<L> {
    #[inline(always)]
    pub(super) fn load(l: L, x: &[f32; BLOCK]) -> Pair<L> {
        let (halves, _) = x.as_chunks::<16>();
        Pair(l.load(&halves[0]), l.load(&halves[1]))
    }

    /// Codes, less their zero point, times a scale.
    #[inline(always)]
    pub(super) fn scaled(l: L, codes: L::B, zero: u8, d: L::F) -> Pair<L> {
        let (low, high) = l.values(codes, zero);
        Pair(l.mul(d, low), l.mul(d, high))
    }

    /// Codes times a scale, plus a shift.
    #[inline(always)]
    pub(super) fn affine(l: L, codes: L::B, d: L::F, shift: L::F) -> Pair<L> {
        let scaled = Pair::scaled(l, codes, 0, d);
        Pair(l.add(scaled.0, shift), l.add(scaled.1, shift))
    }

    #[inline(always)]
    pub(super) fn store(self, l: L, y: &mut [f32; BLOCK]) {
        let (halves, _) = y.as_chunks_mut::<16>();
        l.store(self.0, &mut halves[0]);
        l.store(self.1, &mut halves[1]);
    }

    /// The largest magnitude.
    #[inline(always)]
    pub(super) fn max_abs(self, l: L) -> f32 {
        l.fold_max(l.max(l.abs(self.0), l.abs(self.1)))
    }

    /// Smallest and largest value.
    #[inline(always)]
    pub(super) fn min_max(self, l: L) -> (f32, f32) {
        (l.fold_min(l.min(self.0, self.1)), l.fold_max(l.max(self.0, self.1)))
    }
}

/// The value with the largest magnitude; the first one among equals. `pair` holds the same values as `x`.
#[inline(always)]
pub(super) fn signed_max<L: Lanes>(l: L, x: &[f32; BLOCK], pair: Pair<L>) -> f32 {
    let top = l.splat(pair.max_abs(l));
    let at = l.equal(l.abs(pair.0), top) | l.equal(l.abs(pair.1), top) << 16;
    x[at.trailing_zeros() as usize % BLOCK]
}

/// 1 / d, or 0 where that is not finite: blocks this small encode to zeros.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Store a scale in half precision, round half to even, and give the value that was stored; an overflow is an error at
/// `index`.
#[inline(always)]
pub(super) fn store_half<L: Lanes>(l: L, scale: f32, index: usize, out: &mut [u8]) -> Result<L::F, BadValue> {
    const INFINITY: u16 = 0x7c00;
    let bits = l.half_bits(scale);
    if bits & 0x7fff == INFINITY {
        return Err(BadValue::Overflow { index, value: scale });
    }
    out[..2].copy_from_slice(&bits.to_le_bytes());
    Ok(l.splat(l.half_value(bits)))
}

/// The value of the scale stored at `at`.
#[inline(always)]
pub(super) fn half_at<L: Lanes>(l: L, bytes: &[u8], at: usize) -> L::F {
    l.splat_half(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Four bytes at `at`, little-endian.
#[inline(always)]
pub(super) fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A block format of 32 values: the block's own arithmetic, driven over rows by [`encode_blocks`].
pub(super) trait Block32 {
    /// Bytes of one block.
    const BYTES: usize;
    /// See [`super::Codec::about`].
    const ABOUT: &'static str;

    /// Encode finite values, and give what they decode to; `pair` holds the same as `x`, `index` is where the block
    /// starts, for errors.
    fn encode_block<L: Lanes>(
        l: L,
        x: &[f32; BLOCK],
        pair: Pair<L>,
        index: usize,
        out: &mut [u8],
    ) -> Result<Pair<L>, BadValue>;

    /// Decode one block.
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L>;
}

impl<B: Block32> Decoding for B {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = B::BYTES;
    const ABOUT: &'static str = B::ABOUT;

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(B::BYTES).zip(dst.as_chunks_mut::<BLOCK>().0) {
            B::decode_block(l, bytes).store(l, y);
        }
    }
}

/// Blocks whose squares are added up in lanes before they are folded.
const GROUP: usize = 8;

/// Encode block after block, measuring what was lost.
#[inline(always)]
pub(super) fn encode_blocks<B: Block32, L: Lanes>(
    l: L,
    src: &[f32],
    how: &Encoding<'_>,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    let mut fit = Fit::default();
    let groups = src.chunks(GROUP * BLOCK).zip(dst.chunks_mut(GROUP * B::BYTES));
    for (g, (x, out)) in groups.enumerate() {
        let (mut error, mut energy) = (l.splat(0.0), l.splat(0.0));
        for (n, (x, out)) in x.as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(B::BYTES)).enumerate() {
            let index = (g * GROUP + n) * BLOCK;
            let pair = Pair::load(l, x);
            if l.any_non_finite(pair.0) || l.any_non_finite(pair.1) {
                if how.non_finite == NonFinite::Refuse {
                    return Err(non_finite(x, index));
                }
                out.fill(0);
                out[..2].copy_from_slice(&NAN);
                continue;
            }
            let decoded = B::encode_block(l, x, pair, index, out)?;
            let (a, b) = (l.sub(decoded.0, pair.0), l.sub(decoded.1, pair.1));
            error = l.add(error, l.add(l.mul(a, a), l.mul(b, b)));
            energy = l.add(energy, l.add(l.mul(pair.0, pair.0), l.mul(pair.1, pair.1)));
        }
        fit.error += f64::from(l.fold_sum(error));
        fit.energy += f64::from(l.fold_sum(energy));
    }
    Ok(fit)
}

/// The first NaN or infinity of a slice that is known to hold one.
#[cold]
pub(super) fn non_finite(x: &[f32], base: usize) -> BadValue {
    let at = x.iter().position(|v| !v.is_finite()).unwrap_or(0);
    BadValue::NonFinite { index: base + at, value: x[at] }
}

/// Sixteen bytes at `at`.
#[inline(always)]
pub(super) fn sixteen(bytes: &[u8], at: usize) -> &[u8; 16] {
    &bytes[at..].as_chunks::<16>().0[0]
}

/// Thirty-two bytes at `at`.
#[inline(always)]
pub(super) fn thirty_two(bytes: &[u8], at: usize) -> &[u8; 32] {
    &bytes[at..].as_chunks::<32>().0[0]
}

/// Two 4-bit codes a byte: element j in the low half, j + 16 in the high half.
#[inline(always)]
pub(super) fn pack_nibbles(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
    for i in 0..16 {
        out[i] = (low[i] & 15) | (high[i] << 4);
    }
}

/// Bit 4 of element j at bit j of a little-endian u32.
#[inline(always)]
pub(super) fn pack_fifth_bits(low: &[u8; 16], high: &[u8; 16]) -> [u8; 4] {
    let mut bits = 0u32;
    for i in 0..16 {
        bits |= u32::from(low[i] >> 4) << i | u32::from(high[i] >> 4) << (i + 16);
    }
    bits.to_le_bytes()
}

/// The largest magnitude, for bounds.
pub(super) fn top(x: &[f32]) -> f32 {
    x.iter().fold(0f32, |m, v| m.max(v.abs()))
}

/// Bounds of `worst`: the share of the scale that rounding a value costs, what the f16 of the scale adds for codes up
/// to `codes`, and the coarse steps of f16 near zero.
pub(super) fn worst_of(scale: f32, steps: f32, codes: f32) -> f32 {
    let scale = scale.abs();
    scale * steps * 1.0001 + codes * (scale * 2f32.powi(-11) + 2f32.powi(-25))
}
