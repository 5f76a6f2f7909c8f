//! q2_k: 2-bit codes with a 4-bit scale and minimum per 16 values.

use super::block32::{half_at, sixteen, thirty_two};
use super::k::{self, SUPER};
use super::search::affine::{self, Search, Sharing};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Q2K;

impl Decoding for Q2K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 84;
    const HOLDS_ZERO: bool = false;
    const ABOUT: &'static str = "16 bytes, one for each 16 values: scale sc in the low, minimum m in the high half; \
        64 bytes: of each 32 bytes, byte j holds elements j, j + 32, j + 64 and j + 96 of 128 from bit 0 up; \
        f16 d, f16 dmin; w = d * sc * q - dmin * m.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<84>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let (scales, minimums) = l.values(l.nibbles(sixteen(block, 0)), 0);
            let d = k::times(l, scales, half_at(l, block, 80));
            let min = k::times(l, minimums, half_at(l, block, 82));
            for (part, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
                let codes = l.bytes(thirty_two(block, 16 + 32 * part));
                for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let at = 8 * part + 2 * i;
                    let codes = l.field(codes, 2 * i as i32, 3);
                    k::affine(l, codes, [d[at], d[at + 1]], [min[at], min[at + 1]]).store(l, y);
                }
            }
        }
    }
}

/// Values that share a scale.
const SUB: usize = 16;
/// The largest code, and the largest integer of a scale or minimum.
const TOP: i32 = 3;
const MOST: i32 = 15;

const FAST: Search = Search { grid: &[(0.56, 0.23), (0.76, 0.05), (0.8, 0.82), (0.93, 0.68)], around: &[], refits: 0 };
const BEST: Search = Search {
    grid: &[
        (-0.16, 0.12),
        (0.34, 0.08),
        (0.49, -0.03),
        (0.81, 0.7),
        (0.95, 0.58),
        (1.26, 0.53),
        (1.56, 1.46),
        (2.1, 0.32),
    ],
    around: &[],
    refits: 0,
};
const SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };

impl Searched<SUB> for Q2K {
    const GROUP: usize = 16;
    const SCALE_AT: Option<usize> = Some(80);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, sharing) = (how.pick(&FAST, &BEST), &SHARING);
        let shared = affine::super_blocks::<L, SUB, TOP, MOST, WEIGHED>(l, work, search, sharing, Self::GROUP);
        let (steps, mins) = (l.codes(shared.steps).0, l.codes(shared.min_steps).0);
        for i in 0..16 {
            out[i] = steps[i] | mins[i] << 4;
        }
        pack_pairs(work.pack(l), &mut out[16..80]);
        out[80..82].copy_from_slice(&shared.d[0].to_le_bytes());
        out[82..84].copy_from_slice(&shared.dmin[0].to_le_bytes());
    }
}

/// Two bits a code: four codes that are 32 apart, of 128, in a byte.
#[inline(always)]
pub(super) fn pack_pairs(codes: &[u8], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(128).zip(out.chunks_exact_mut(32)) {
        for i in 0..32 {
            out[i] = codes[i] & 3 | (codes[i + 32] & 3) << 2 | (codes[i + 64] & 3) << 4 | (codes[i + 96] & 3) << 6;
        }
    }
}

impl Tiled for Q2K {
    const LINES: Lines = Lines::Pairs;
    const ZERO: u8 = 0;
    const SUB: usize = SUB;
    const SCALES: usize = 2 * tiled::HALVES + 256;
    const SHIFTED: bool = true;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        k::take_heads(block, 80, row, scales);
        tiled::put_bytes(&block[..16], scales, 2 * tiled::HALVES, row);
        codes.fill(0);
        k::take_pairs(&block[16..80], 0, codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        let (scale, _) = l.values(l.nibbles(tiled::bytes(scales, 2 * tiled::HALVES, sub)), 0);
        l.mul(tiled::halves(l, scales, 0), scale)
    }

    #[inline(always)]
    fn shift<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        let (_, minimum) = l.values(l.nibbles(tiled::bytes(scales, 2 * tiled::HALVES, sub)), 0);
        l.mul(tiled::halves(l, scales, tiled::HALVES), minimum)
    }
}

impl Coding for Q2K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q2K, L, SUB>(l, src, how, dst)
    }
}
