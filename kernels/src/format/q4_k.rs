//! q4_k: 4-bit codes with a six-bit scale and minimum per 32 values.

use super::k::{self, SUPER};
use super::search::affine::{self, Search, Shared, Sharing};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Q4K;

impl Decoding for Q4K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 144;
    const HOLDS_ZERO: bool = false;
    const ABOUT: &'static str = "f16 d, f16 dmin, 12 bytes with a six-bit scale sc and minimum m for each 32 values, \
        then 128 bytes: of each 32 bytes, byte j holds element j of 64 in its low and j + 32 in its high half; \
        w = d * sc * q - dmin * m.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<144>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let Some((head, codes)) = block.split_first_chunk::<16>() else { return };
            let (d, min) = k::scales_and_minimums(l, head);
            for (j, (codes, y)) in codes.as_chunks::<32>().0.iter().zip(y.as_chunks_mut::<64>().0).enumerate() {
                let codes = l.bytes(codes);
                for (half, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let (d, min) = (d[2 * j + half], min[2 * j + half]);
                    let codes = l.field(codes, 4 * half as i32, 15);
                    k::affine(l, codes, [d, d], [min, min]).store(l, y);
                }
            }
        }
    }
}

/// Values that share a scale.
pub(super) const SUB: usize = 32;
/// The largest code, and the largest integer of a scale or minimum.
const TOP: i32 = 15;
pub(super) const MOST: i32 = 63;

const FAST: Search =
    Search { grid: &[(-1.72, 0.09), (-0.92, 0.02), (0.42, -0.03), (0.45, 0.42)], around: &[], refits: 1 };
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
const SHARING: Sharing = Sharing { beside: affine::THREE, rounds: 1 };

impl Searched<SUB> for Q4K {
    const GROUP: usize = 8;
    const SCALE_AT: Option<usize> = Some(0);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, sharing) = (how.pick(&FAST, &BEST), &SHARING);
        let shared = affine::super_blocks::<L, SUB, TOP, MOST, WEIGHED>(l, work, search, sharing, Self::GROUP);
        store(l, work, &shared, Self::BYTES, out);
    }
}

/// Scales at the start and low halves of codes at the end of blocks of `bytes` bytes; gives the codes.
#[inline(always)]
pub(super) fn store<'w, L: Lanes>(
    l: L,
    work: &'w mut Work<SUB>,
    shared: &Shared<L>,
    bytes: usize,
    out: &mut [u8],
) -> &'w [u8] {
    let (steps, mins) = (l.codes(shared.steps).0, l.codes(shared.min_steps).0);
    let all = work.pack(l);
    for (n, (codes, out)) in all.chunks_exact(SUPER).zip(out.chunks_exact_mut(bytes)).enumerate() {
        out[..2].copy_from_slice(&shared.d[n * 8].to_le_bytes());
        out[2..4].copy_from_slice(&shared.dmin[n * 8].to_le_bytes());
        pack_scales(&steps[n * 8..], &mins[n * 8..], &mut out[4..16]);
        for (codes, out) in codes.chunks_exact(64).zip(out[bytes - SUPER / 2..].chunks_exact_mut(32)) {
            for i in 0..32 {
                out[i] = codes[i] & 15 | codes[i + 32] << 4;
            }
        }
    }
    all
}

/// Eight six-bit scales and eight six-bit minima: the first four of each in the low bits of a byte, the others in half
/// bytes and in the two high bits that are left.
#[inline(always)]
fn pack_scales(scales: &[u8], mins: &[u8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | scales[j + 4] >> 4 << 6;
        out[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        out[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
}

impl Tiled for Q4K {
    const LINES: Lines = Lines::Nibbles;
    const ZERO: u8 = 0;
    const SUB: usize = SUB;
    const SCALES: usize = k::TILE_SCALES;
    const SHIFTED: bool = true;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        k::take_scales(block, row, scales);
        tiled::take_nibbles(32, &block[16..], codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        k::tile_scale(l, scales, sub)
    }

    #[inline(always)]
    fn shift<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        k::tile_shift(l, scales, sub)
    }
}

impl Coding for Q4K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q4K, L, SUB>(l, src, how, dst)
    }
}
