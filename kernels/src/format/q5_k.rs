//! q5_k: 5-bit codes with a six-bit scale and minimum per 32 values.

use super::block32::NAN;
use super::k::{self, SUPER};
use super::q4_k::pack_scales;
use super::search::affine::{self, Search, Sharing};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Q5K;

impl Decoding for Q5K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 176;
    const ABOUT: &'static str = "f16 d, f16 dmin and 12 bytes of scales and minimums as in q4_k, then 32 bytes of fifth \
        bits (of element 32i + j at bit i of byte j), then 128 bytes of low halves as in q4_k; \
        w = d * sc * q - dmin * m.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<176>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let Some((head, rest)) = block.split_first_chunk::<16>() else { return };
            let Some((fifth, codes)) = rest.split_first_chunk::<32>() else { return };
            let (d, min) = k::scales_and_minimums(l, head);
            let mut fifth = l.bytes(fifth);
            for (j, (codes, y)) in codes.as_chunks::<32>().0.iter().zip(y.as_chunks_mut::<64>().0).enumerate() {
                let codes = l.bytes(codes);
                for (half, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let i = 2 * j + half;
                    let codes = l.or(l.field(codes, 4 * half as i32, 15), l.field(fifth, half as i32 - 4, 16));
                    k::affine(l, codes, [d[i], d[i]], [min[i], min[i]]).store(l, y);
                }
                fifth = l.field(fifth, 2, 0x3f);
            }
        }
    }
}

/// Values that share a scale.
const SUB: usize = 32;
/// The largest code, and the largest integer of a scale or minimum.
const TOP: i32 = 31;
const MOST: i32 = 63;

const FAST: Search =
    Search { grid: &[(-2.05, 0.02), (-0.7, 0.15), (0.08, 0.18), (0.18, -0.14)], around: &[], refits: 0 };
const BEST: Search = Search {
    grid: &[
        (-2.96, 0.07),
        (-2.39, -0.18),
        (-1.46, 0.11),
        (-1.1, -0.11),
        (0.03, -0.04),
        (0.07, 0.3),
        (0.52, -0.06),
        (3.54, 0.55),
    ],
    around: &[(-1.01, -0.32), (-0.07, -0.16), (0.7, 0.17), (0.77, 0.64)],
    refits: 1,
};
const FAST_SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };
const BEST_SHARING: Sharing = Sharing { beside: affine::NINE, rounds: 1 };

impl Searched<SUB> for Q5K {
    const GROUP: usize = 8;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, sharing) = match how.effort {
            Effort::Fast => (&FAST, &FAST_SHARING),
            Effort::Best => (&BEST, &BEST_SHARING),
        };
        let pair = affine::pairs::<L, SUB, TOP, false, WEIGHED>(l, work, search);
        let shared = affine::share::<L, SUB, 8, TOP, MOST, WEIGHED>(l, work, &pair, sharing);
        affine::set_codes::<L, SUB, TOP>(l, work, shared.pair.scale, shared.pair.min);
        let (steps, mins) = (l.codes(shared.steps).0, l.codes(shared.min_steps).0);
        for (n, (codes, out)) in work.pack(l).chunks_exact(SUPER).zip(out.chunks_exact_mut(Self::BYTES)).enumerate() {
            out[..2].copy_from_slice(&shared.d[n * 8].to_le_bytes());
            out[2..4].copy_from_slice(&shared.dmin[n * 8].to_le_bytes());
            pack_scales(&steps[n * 8..], &mins[n * 8..], &mut out[4..16]);
            for i in 0..32 {
                let mut bits = 0;
                for s in 0..8 {
                    bits |= codes[s * 32 + i] >> 4 << s;
                }
                out[16 + i] = bits;
            }
            for (codes, out) in codes.chunks_exact(64).zip(out[48..].chunks_exact_mut(32)) {
                for i in 0..32 {
                    out[i] = codes[i] & 15 | codes[i + 32] << 4;
                }
            }
        }
    }

    fn poison(block: &mut [u8]) -> bool {
        block[0..2].copy_from_slice(&NAN);
        true
    }
}

impl Coding for Q5K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q5K, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
