//! What the 256-value formats share: super-blocks whose sub-blocks have small integer scales, in units of one f16.

use super::block32::{Pair, half_at, word_at};
use crate::matmul::PANEL;
use crate::matmul::tiled;
use crate::simd::Lanes;

/// Values per super-block.
pub(super) const SUPER: usize = 256;

/// Codes, less their zero point, times the scale of their half.
#[inline(always)]
pub(super) fn scaled<L: Lanes>(l: L, codes: L::B, zero: u8, d: [f32; 2]) -> Pair<L> {
    let (low, high) = l.values(codes, zero);
    Pair(l.mul(l.splat(d[0]), low), l.mul(l.splat(d[1]), high))
}

/// Codes times the scale of their half, less its minimum.
#[inline(always)]
pub(super) fn affine<L: Lanes>(l: L, codes: L::B, d: [f32; 2], min: [f32; 2]) -> Pair<L> {
    let Pair(low, high) = scaled(l, codes, 0, d);
    Pair(l.sub(low, l.splat(min[0])), l.sub(high, l.splat(min[1])))
}

/// Sixteen small integers times their unit. They stay in memory, where loading and broadcasting one is one operation;
/// taking it from a register would be two or three, on the same port as all the unpacking.
#[inline(always)]
pub(super) fn times<L: Lanes>(l: L, small: L::F, unit: L::F) -> [f32; 16] {
    let mut scales = [0.0; 16];
    l.store(l.mul(unit, small), &mut scales);
    std::hint::black_box(scales)
}

/// Scales and minimums of the eight sub-blocks of q4_k and q5_k, from f16 d, f16 dmin and 12 bytes of six-bit integers.
///
/// Bytes 0 to 3 of the twelve hold scales 0 to 3, bytes 4 to 7 minimums 0 to 3, in their low six bits. Bytes 8 to 11
/// hold the low four bits of scales 4 to 7 and, in their high halves, of minimums 4 to 7; the upper two bits of these
/// are on top of the first eight bytes.
#[inline(always)]
pub(super) fn scales_and_minimums<L: Lanes>(l: L, head: &[u8; 16]) -> ([f32; 8], [f32; 8]) {
    const SIX: u32 = 0x3f3f_3f3f;
    const LOW: u32 = 0x0f0f_0f0f;
    const UPPER: u32 = 0x3030_3030;
    let [a, b, c] = [word_at(head, 4), word_at(head, 8), word_at(head, 12)];
    let words = [a & SIX, c & LOW | a >> 2 & UPPER, b & SIX, c >> 4 & LOW | b >> 2 & UPPER];
    let small = l.widen_u8(&sixteen_bytes(words));
    let scales = times(l, small, half_at(l, head, 0));
    let minimums = times(l, small, half_at(l, head, 2));
    (scales.as_chunks::<8>().0[0], minimums.as_chunks::<8>().0[1])
}

/// Bytes of d and -dmin of sixteen rows, and of one scale each for eight sub-blocks.
const HEADS: usize = 2 * tiled::HALVES;
const EIGHT: usize = 8 * PANEL;
/// Bytes of everything but codes in the tiles of q4_k and q5_k: d, -dmin, scales, minimums.
pub(super) const TILE_SCALES: usize = HEADS + 2 * EIGHT;

/// f16 d and dmin at `at`, to the start of a tile.
pub(super) fn take_heads(block: &[u8], at: usize, row: usize, scales: &mut [u8]) {
    tiled::put_half(scales, 0, row, [block[at], block[at + 1]]);
    // A minimum is subtracted.
    tiled::put_half(scales, tiled::HALVES, row, [block[at + 2], block[at + 3] ^ 0x80]);
}

/// The head of q4_k and q5_k as in [`scales_and_minimums`], to the start of a tile.
pub(super) fn take_scales(head: &[u8], row: usize, scales: &mut [u8]) {
    take_heads(head, 0, row, scales);
    let packed = &head[4..16];
    for j in 0..4 {
        let (a, b, c) = (packed[j], packed[j + 4], packed[j + 8]);
        let each = [(j, a & 63, b & 63), (j + 4, c & 15 | a >> 6 << 4, c >> 4 | b >> 6 << 4)];
        for (sub, scale, minimum) in each {
            scales[HEADS + sub * PANEL + row] = scale;
            scales[HEADS + EIGHT + sub * PANEL + row] = minimum;
        }
    }
}

/// d times the scale of sub-block `sub`, of sixteen rows.
#[inline(always)]
pub(super) fn tile_scale<L: Lanes>(l: L, scales: &[u8], sub: usize) -> L::F {
    l.mul(tiled::halves(l, scales, 0), l.widen_u8(tiled::bytes(scales, HEADS, sub)))
}

/// -dmin times the minimum of sub-block `sub`, of sixteen rows.
#[inline(always)]
pub(super) fn tile_shift<L: Lanes>(l: L, scales: &[u8], sub: usize) -> L::F {
    l.mul(tiled::halves(l, scales, tiled::HALVES), l.widen_u8(tiled::bytes(scales, HEADS + EIGHT, sub)))
}

/// Pairs of bits, 32 bytes for 128 codes, to bit `up` of each.
pub(super) fn take_pairs(bytes: &[u8], up: u32, codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (i, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                *code |= (byte >> (2 * i) & 3) << up;
            }
        }
    }
}

/// Single bits, 32 bytes for 256 codes, to bit `up` of each.
pub(super) fn take_bits(bytes: &[u8], up: u32, codes: &mut [u8]) {
    for (i, codes) in codes.chunks_exact_mut(32).enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= (byte >> i & 1) << up;
        }
    }
}

/// Little-endian words as bytes.
#[inline(always)]
pub(super) fn sixteen_bytes(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (word, out) in words.iter().zip(bytes.as_chunks_mut::<4>().0) {
        *out = word.to_le_bytes();
    }
    bytes
}

/// One bit of each code: that of element 32s + j at bit s of byte j.
#[inline(always)]
pub(super) fn pack_bits(codes: &[u8], bit: u32, out: &mut [u8]) {
    for j in 0..32 {
        let mut bits = 0;
        for s in 0..8 {
            bits |= (codes[s * 32 + j] >> bit & 1) << s;
        }
        out[j] = bits;
    }
}
