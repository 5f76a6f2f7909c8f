//! q4_k: 4-bit codes in super-blocks of 256, with a six-bit scale and minimum per 32 values.

use super::block32::{NAN, half_at, sixteen};
use super::search::affine::{self, Search, Sharing};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Q4K;

/// Values of a block, and those that share a scale.
const BLOCK: usize = 256;
const SUB: usize = 32;
/// The largest code, and the largest integer of a scale or minimum.
const TOP: i32 = 15;
const MOST: i32 = 63;

const FAST: Search =
    Search { grid: &[(-1.53, -0.76), (-0.76, 0.12), (0.42, 0.4), (0.42, 0.01)], around: &[], refits: 0 };
const BEST: Search = Search {
    grid: &[
        (-1.97, 0.14),
        (-0.86, 0.04),
        (-0.71, -0.62),
        (0.13, 0.03),
        (0.23, 0.31),
        (0.78, 0.02),
        (0.88, 0.84),
        (1.53, 0.65),
    ],
    around: &[(-0.49, -0.23), (0.04, -0.15), (0.62, 0.19), (0.71, 0.49)],
    refits: 1,
};
const FAST_SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };
const BEST_SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };

impl Decoding for Q4K {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 144;
    const ABOUT: &'static str = "f16 d, f16 dmin, 12 bytes of six-bit scales and minima of 8 sub-blocks of 32, then 128 bytes: \
        byte j of each 32 holds element j of a sub-block in its low and element j of the next in its high half; \
        w = d * scale * q - dmin * min.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let (d, dmin) = (half_at(l, bytes, 0), half_at(l, bytes, 2));
            let (scales, mins) = unpack_scales(&bytes[4..16]);
            let mut codes = [0; BLOCK];
            for (codes, bytes) in codes.chunks_exact_mut(64).zip(bytes[16..].chunks_exact(32)) {
                for i in 0..32 {
                    codes[i] = bytes[i] & 15;
                    codes[i + 32] = bytes[i] >> 4;
                }
            }
            for (n, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let (scale, min) = (d * f32::from(scales[n / 2]), dmin * f32::from(mins[n / 2]));
                let q = l.widen_u8(sixteen(&codes, n * 16));
                l.store(l.sub(l.mul(l.splat(scale), q), l.splat(min)), y);
            }
        }
    }
}

impl Searched<SUB> for Q4K {
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
        for (n, (codes, out)) in work.pack(l).chunks_exact(BLOCK).zip(out.chunks_exact_mut(Self::BYTES)).enumerate() {
            out[..2].copy_from_slice(&shared.d[n * 8].to_le_bytes());
            out[2..4].copy_from_slice(&shared.dmin[n * 8].to_le_bytes());
            pack_scales(&steps[n * 8..], &mins[n * 8..], &mut out[4..16]);
            for (codes, out) in codes.chunks_exact(64).zip(out[16..].chunks_exact_mut(32)) {
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

/// Eight six-bit scales and eight six-bit minima: the first four of each in the low bits of a byte, the others in half
/// bytes and in the two high bits that are left.
#[inline(always)]
pub(super) fn pack_scales(scales: &[u8], mins: &[u8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | scales[j + 4] >> 4 << 6;
        out[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        out[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
}

/// The reverse of [`pack_scales`].
#[inline(always)]
pub(super) fn unpack_scales(bytes: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = bytes[j] & 63;
        mins[j] = bytes[j + 4] & 63;
        scales[j + 4] = bytes[j + 8] & 15 | bytes[j] >> 6 << 4;
        mins[j + 4] = bytes[j + 8] >> 4 | bytes[j + 4] >> 6 << 4;
    }
    (scales, mins)
}

impl Coding for Q4K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q4K, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
