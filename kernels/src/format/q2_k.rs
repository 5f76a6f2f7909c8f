//! q2_k: 2-bit codes in super-blocks of 256, with a four-bit scale and minimum per 16 values.

use super::block32::{NAN, half_at, sixteen};
use super::search::affine::{self, Search, Sharing};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Q2K;

/// Values of a block, and those that share a scale.
const BLOCK: usize = 256;
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
const FAST_SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };
const BEST_SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };

impl Decoding for Q2K {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 84;
    const ABOUT: &'static str = "16 bytes with the scale of 16 values in the low and their minimum in the high half, \
        64 bytes: byte j of each 32 holds elements j, j + 32, j + 64 and j + 96 of 128 in two bits each, f16 d, f16 dmin; \
        w = d * scale * q - dmin * min.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let (d, dmin) = (half_at(l, bytes, 80), half_at(l, bytes, 82));
            let codes = unpack_pairs(&bytes[16..80]);
            for (n, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let (scale, min) = (d * f32::from(bytes[n] & 15), dmin * f32::from(bytes[n] >> 4));
                let q = l.widen_u8(sixteen(&codes, n * 16));
                l.store(l.sub(l.mul(l.splat(scale), q), l.splat(min)), y);
            }
        }
    }
}

impl Searched<SUB> for Q2K {
    const GROUP: usize = 16;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, sharing) = match how.effort {
            Effort::Fast => (&FAST, &FAST_SHARING),
            Effort::Best => (&BEST, &BEST_SHARING),
        };
        let pair = affine::pairs::<L, SUB, TOP, false, WEIGHED>(l, work, search);
        let shared = affine::share::<L, SUB, 16, TOP, MOST, WEIGHED>(l, work, &pair, sharing);
        affine::set_codes::<L, SUB, TOP>(l, work, shared.pair.scale, shared.pair.min);
        let (steps, mins) = (l.codes(shared.steps).0, l.codes(shared.min_steps).0);
        for i in 0..16 {
            out[i] = steps[i] | mins[i] << 4;
        }
        pack_pairs(work.pack(l), &mut out[16..80]);
        out[80..82].copy_from_slice(&shared.d[0].to_le_bytes());
        out[82..84].copy_from_slice(&shared.dmin[0].to_le_bytes());
    }

    fn poison(block: &mut [u8]) -> bool {
        block[80..82].copy_from_slice(&NAN);
        true
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

/// The reverse of [`pack_pairs`].
#[inline(always)]
pub(super) fn unpack_pairs(bytes: &[u8]) -> [u8; BLOCK] {
    let mut codes = [0; BLOCK];
    for (codes, bytes) in codes.chunks_exact_mut(128).zip(bytes.chunks_exact(32)) {
        for i in 0..32 {
            codes[i] = bytes[i] & 3;
            codes[i + 32] = bytes[i] >> 2 & 3;
            codes[i + 64] = bytes[i] >> 4 & 3;
            codes[i + 96] = bytes[i] >> 6;
        }
    }
    codes
}

impl Coding for Q2K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q2K, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
