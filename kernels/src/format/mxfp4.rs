//! mxfp4: 4-bit floats with a power of two per 32 values (OCP Microscaling Formats, version 1.0).

use super::block32::{BLOCK, Pair, pack_nibbles, sixteen};
use super::search::grid::{E2M1, E2m1, bytes};
use super::search::symmetric::{best_of, set_codes};
use super::search::tile::{self, Searched, Work, spread, top};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Mxfp4;

/// Twice the E2M1 values, so that they are integers, plus [`ZERO`]. The scales are halved in turn.
pub(super) const E2M1_TWICE: [u8; 16] = bytes(&E2M1, 2.0, ZERO);
pub(super) const ZERO: u8 = 12;

impl Decoding for Mxfp4 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 17;
    const ABOUT: &'static str = "A byte e, then 16 bytes as in q4_0; w = 2^(e - 127) * E2M1[q], with 0, 0.5, 1, 1.5, 2, \
        3, 4, 6 and from code 8 on their negatives; code 8 is +0. As in ggml, e = 255 is 2^128, not NaN.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<17>().0.iter().zip(dst.as_chunks_mut::<BLOCK>().0) {
            let codes = l.lookup(&E2M1_TWICE, l.nibbles(sixteen(block, 1)));
            Pair::scaled(l, codes, ZERO, l.splat(half_of_power(block[0]))).store(l, y);
        }
    }
}

/// 2^(e - 128), which is subnormal below 2.
#[inline(always)]
fn half_of_power(e: u8) -> f32 {
    let bits = if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 };
    f32::from_bits(bits)
}

/// The exponent of the largest number of the grid, 6.
const TOP_EXPONENT: u32 = 2;
/// The largest stored exponent that is not NaN.
const LAST: u32 = 254;

/// The powers for sixteen exponents.
#[inline(always)]
fn powers<L: Lanes>(l: L, exponents: &[u32; 16], by: i32) -> (L::F, L::F) {
    let (mut names, mut scales) = ([0.0; 16], [0.0; 16]);
    for i in 0..16 {
        let e = exponents[i].saturating_add_signed(by).min(LAST);
        (names[i], scales[i]) = (e as f32, 2.0 * half_of_power(e as u8));
    }
    (l.load(&scales), l.load(&names))
}

impl Searched<BLOCK> for Mxfp4 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = None;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let mut exponents = [0; 16];
        for (e, top) in exponents.iter_mut().zip(spread(l, top(l, work))) {
            *e = (top.to_bits() >> 23).saturating_sub(TOP_EXPONENT);
        }
        if !how.is_plain() {
            let tried = [powers(l, &exponents, 0), powers(l, &exponents, 1), powers(l, &exponents, -1)];
            let (scales, names) = ([tried[0].0, tried[1].0, tried[2].0], [tried[0].1, tried[1].1, tried[2].1]);
            let (best, _) = best_of::<L, E2m1, BLOCK, WEIGHED, 3>(l, work, scales, names);
            for (e, best) in exponents.iter_mut().zip(spread(l, best)) {
                *e = best as u32;
            }
        }
        set_codes::<L, E2m1, BLOCK>(l, work, powers(l, &exponents, 0).0);
        let blocks = work.pack(l).as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(Self::BYTES));
        for ((codes, out), e) in blocks.zip(exponents) {
            out[0] = e as u8;
            pack_nibbles(sixteen(codes, 0), sixteen(codes, 16), &mut out[1..]);
        }
    }
}

impl Tiled for Mxfp4 {
    const LINES: Lines = Lines::Nibbles;
    const TABLE: Option<&'static [u8; 16]> = Some(&E2M1_TWICE);
    const ZERO: u8 = ZERO;
    const SUB: usize = BLOCK;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        // Every power is a bfloat16 number.
        let power = (half_of_power(block[0]).to_bits() >> 16) as u16;
        tiled::put_half(scales, 0, row, power.to_le_bytes());
        tiled::take_nibbles(16, &block[1..], codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], _: usize) -> L::F {
        l.bf16_values(tiled::sixteen_pairs(scales, 0))
    }
}

impl Coding for Mxfp4 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Mxfp4, L, BLOCK>(l, src, how, dst)
    }
}
