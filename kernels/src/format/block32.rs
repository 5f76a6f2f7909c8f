//! What the 32-value formats share: the walk over blocks, reductions in a fixed order, and the f16 of a scale.

use super::search::tile::{self, Searched, Work, inverse, spread};
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

    /// Smallest and largest value.
    #[inline(always)]
    fn extremes(self, l: L) -> (f32, f32) {
        (l.fold_min(l.min(self.0, self.1)), l.fold_max(l.max(self.0, self.1)))
    }
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

/// Blocks whose scales are computed side by side.
const GROUP: usize = 16;

/// A block format of 32 values, and the reference's way to encode it, driven over rows by [`encode_blocks`].
pub(super) trait Block32 {
    /// Bytes of one block: f16 d, with `AFFINE` f16 m, then codes.
    const BYTES: usize;
    /// See [`super::Codec::about`].
    const ABOUT: &'static str;
    /// There is a minimum m.
    const AFFINE: bool = false;

    /// d, and m where there is one, of sixteen blocks, before rounding.
    fn scales<L: Lanes>(l: L, of: &Extremes<L>) -> (L::F, L::F);

    /// Codes of sixteen values for 1 / d and m, both before rounding: as stored, and what is multiplied with d.
    fn codes<L: Lanes>(l: L, x: L::F, inverse: L::F, m: L::F) -> ([u8; 16], L::F);

    /// Store the codes of a block behind its scales.
    fn pack(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]);

    /// Decode one block.
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L>;
}

/// What the scales of sixteen blocks depend on.
pub(super) struct Extremes<L: Lanes> {
    pub(super) low: L::F,
    pub(super) high: L::F,
    /// The value with the largest magnitude; the first one among equals.
    pub(super) largest: L::F,
}

impl<L: Lanes> Extremes<L> {
    #[inline(always)]
    fn of(l: L, blocks: &[[f32; BLOCK]]) -> Self {
        let (mut low, mut high) = ([0.0; GROUP], [0.0; GROUP]);
        for (n, x) in blocks.iter().enumerate() {
            (low[n], high[n]) = Pair::load(l, x).extremes(l);
        }
        let mut largest = [0.0; GROUP];
        for n in 0..GROUP {
            largest[n] = if high[n] > -low[n] { high[n] } else { low[n] };
        }
        for (n, x) in blocks.iter().enumerate() {
            if high[n] == -low[n] {
                largest[n] = first_of_magnitude(x, high[n]);
            }
        }
        Extremes { low: l.load(&low), high: l.load(&high), largest: l.load(&largest) }
    }
}

fn first_of_magnitude(x: &[f32], magnitude: f32) -> f32 {
    x.iter().copied().find(|v| v.abs() == magnitude).unwrap_or(0.0)
}

impl<B: Block32> Decoding for B {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = B::BYTES;
    const ABOUT: &'static str = B::ABOUT;
    const HOLDS_ZERO: bool = !B::AFFINE;

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(B::BYTES).zip(dst.as_chunks_mut::<BLOCK>().0) {
            B::decode_block(l, bytes).store(l, y);
        }
    }
}

/// Encode as the reference does where that is wanted, otherwise with the scales that lose least.
#[inline(always)]
pub(super) fn encode<B: Block32 + Searched<BLOCK>, L: Lanes>(
    l: L,
    src: &[f32],
    how: &Encoding<'_>,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    if how.is_plain() { encode_blocks::<B, L>(l, src, how, dst) } else { tile::encode::<B, L, BLOCK>(l, src, how, dst) }
}

/// Store sixteen blocks that were searched.
#[inline(always)]
pub(super) fn store<B: Block32, L: Lanes>(
    l: L,
    work: &mut Work<BLOCK>,
    d: &[u16; GROUP],
    m: &[u16; GROUP],
    out: &mut [u8],
) {
    let blocks = work.pack(l).as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(B::BYTES));
    for (n, (codes, out)) in blocks.enumerate() {
        put::<B>(d[n], m[n], sixteen(codes, 0), sixteen(codes, 16), out);
    }
}

/// One block: its scales in half precision, and its codes.
#[inline(always)]
fn put<B: Block32>(d: u16, m: u16, low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
    out[..2].copy_from_slice(&d.to_le_bytes());
    if B::AFFINE {
        out[2..4].copy_from_slice(&m.to_le_bytes());
    }
    B::pack(low, high, &mut out[if B::AFFINE { 4 } else { 2 }..]);
}

/// Encode as the reference does, measuring what was lost.
#[inline(always)]
pub(super) fn encode_blocks<B: Block32, L: Lanes>(
    l: L,
    src: &[f32],
    how: &Encoding<'_>,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    let mut fit = Fit::default();
    for (n, (x, out)) in src.chunks(GROUP * BLOCK).zip(dst.chunks_mut(GROUP * B::BYTES)).enumerate() {
        let blocks = x.as_chunks::<BLOCK>().0;
        let one_by_one = if let Some(found) = group::<B, L>(l, blocks, out) {
            fit += found;
            continue;
        } else {
            blocks.iter().zip(out.chunks_exact_mut(B::BYTES)).enumerate()
        };
        for (i, (x, out)) in one_by_one {
            let index = (n * GROUP + i) * BLOCK;
            let finite = x.iter().all(|v| v.is_finite());
            match group::<B, L>(l, std::slice::from_ref(x), out) {
                Some(found) => fit += found,
                None if finite => return Err(BadValue::Overflow { index, value: top(x) }),
                None if how.non_finite == NonFinite::Refuse => return Err(non_finite(x, index)),
                None => {
                    out.fill(0);
                    out[..2].copy_from_slice(&NAN);
                }
            }
        }
    }
    Ok(fit)
}

/// Encode up to sixteen blocks; `None` when a value is not finite or a scale has no place in half precision.
#[inline(always)]
fn group<B: Block32, L: Lanes>(l: L, blocks: &[[f32; BLOCK]], out: &mut [u8]) -> Option<Fit> {
    let (d, m) = B::scales(l, &Extremes::of(l, blocks));
    let (d_halves, m_halves) = (l.halves(d), l.halves(m));
    let (d_stored, m_stored) = (l.widen_halves(&d_halves), l.widen_halves(&m_halves));
    if l.any_non_finite(d_stored) || l.any_non_finite(m_stored) {
        return None;
    }
    let (inverses, m) = (spread(l, inverse(l, d)), spread(l, m));
    let (d_stored, m_stored) = (spread(l, d_stored), spread(l, m_stored));
    let (mut error, mut energy) = (l.splat(0.0), l.splat(0.0));
    for (n, (x, out)) in blocks.iter().zip(out.chunks_exact_mut(B::BYTES)).enumerate() {
        let x = Pair::<L>::load(l, x);
        let (inverse, m) = (l.splat(inverses[n]), l.splat(m[n]));
        let (low, low_numbers) = B::codes(l, x.0, inverse, m);
        let (high, high_numbers) = B::codes(l, x.1, inverse, m);
        put::<B>(d_halves[n], m_halves[n], &low, &high, out);
        let d = l.splat(d_stored[n]);
        let (mut a, mut b) = (l.mul(d, low_numbers), l.mul(d, high_numbers));
        if B::AFFINE {
            let m = l.splat(m_stored[n]);
            (a, b) = (l.add(a, m), l.add(b, m));
        }
        let (a, b) = (l.sub(a, x.0), l.sub(b, x.1));
        error = l.add(error, l.add(l.mul(a, a), l.mul(b, b)));
        energy = l.add(energy, l.add(l.mul(x.0, x.0), l.mul(x.1, x.1)));
    }
    let fit = Fit { error: l.fold_sum(error).into(), energy: l.fold_sum(energy).into() };
    // Squares of what is not finite are not either, and what half precision scales has finite squares.
    fit.energy.is_finite().then_some(fit)
}

/// The first NaN or infinity of a slice that is known to hold one.
#[cold]
pub(super) fn non_finite(x: &[f32], base: usize) -> BadValue {
    let at = x.iter().position(|v| !v.is_finite()).unwrap_or(0);
    BadValue::NonFinite { index: base + at, value: x[at] }
}

/// Sixteen bytes at `at`.
#[inline(always)]
pub(crate) fn sixteen(bytes: &[u8], at: usize) -> &[u8; 16] {
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
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Moves bit 8 i to bit 56 + i, and no two bits to the same place.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let eights = low.as_chunks::<8>().0.iter().chain(high.as_chunks::<8>().0);
    let mut bits = [0; 4];
    for (codes, bits) in eights.zip(&mut bits) {
        *bits = ((u64::from_le_bytes(*codes) >> 4 & ONES).wrapping_mul(GATHER) >> 56) as u8;
    }
    bits
}

/// Bit j of `bits` is bit 4 of code j.
pub(super) fn take_fifth_bits(bits: u32, codes: &mut [u8]) {
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= (bits >> j & 1) as u8 * 16;
    }
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
