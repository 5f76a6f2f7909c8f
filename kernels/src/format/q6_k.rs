//! q6_k: 6-bit codes with an 8-bit scale per 16 values.

use super::block32::{half_at, sixteen};
use super::k::{self, SUPER};
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Q6K;

impl Decoding for Q6K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 210;
    const ABOUT: &'static str = "128 bytes of low halves: of each 64 bytes, byte j holds element j of 128 in its low \
        and j + 64 in its high half; 64 bytes of upper pairs of bits: of each 32 bytes, byte j holds those of elements \
        j, j + 32, j + 64 and j + 96 of 128 from bit 0 up; 16 signed bytes sc, one for each 16 values; f16 d; \
        w = d * sc * (q - 32).";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<210>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let (codes, _) = block.as_chunks::<32>();
            let d = k::times(l, l.widen_i8(sixteen(block, 192)), half_at(l, block, 208));
            for (part, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
                let low = [l.bytes(&codes[2 * part]), l.bytes(&codes[2 * part + 1])];
                let upper = l.bytes(&codes[4 + part]);
                for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let low = l.field(low[i % 2], i as i32 / 2 * 4, 15);
                    let upper = l.field(upper, 2 * i as i32 - 4, 0x30);
                    let at = 8 * part + 2 * i;
                    k::scaled(l, l.or(low, upper), 32, [d[at], d[at + 1]]).store(l, y);
                }
            }
        }
    }
}

/// Values that share a scale.
const SUB: usize = 16;
type Codes = Integers<-32, 31>;

const FAST: Search = Search { images: &[-32.2, -31.1, 29.8, 47.1], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-47.6, -42.2, -32.1, -31.1, -26.0, -25.1, 27.0, 28.1, 28.9, 29.9, 34.9, 41.2],
    around: &[-1.29, 0.81, 1.9, 3.06],
    refits: 0,
};

impl Searched<SUB> for Q6K {
    const GROUP: usize = 16;
    const SCALE_AT: Option<usize> = Some(208);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let search = how.pick(&FAST, &BEST);
        let shared = symmetric::super_blocks::<L, Codes, SUB, -128, WEIGHED>(l, work, search, Self::GROUP, 1);
        for (h, q) in work.pack(l).chunks_exact(128).enumerate() {
            for i in 0..32 {
                out[h * 64 + i] = q[i] & 15 | q[i + 64] << 4;
                out[h * 64 + 32 + i] = q[i + 32] & 15 | q[i + 96] << 4;
                out[128 + h * 32 + i] = q[i] >> 4 | q[i + 32] >> 4 << 2 | q[i + 64] >> 4 << 4 | q[i + 96] >> 4 << 6;
            }
        }
        out[192..208].copy_from_slice(&l.codes(shared.steps).0);
        out[208..210].copy_from_slice(&shared.d[0].to_le_bytes());
    }
}

impl Tiled for Q6K {
    const LINES: Lines = Lines::NibblesAndPairs;
    const ZERO: u8 = 32;
    const SUB: usize = SUB;
    const SCALES: usize = tiled::HALVES + 16 * 16;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[208], block[209]]);
        tiled::put_bytes(&block[192..208], scales, tiled::HALVES, row);
        tiled::take_nibbles(64, &block[..128], codes);
        k::take_pairs(&block[128..192], 4, codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        tiled::signed_scale(l, scales, sub)
    }
}

impl Coding for Q6K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q6K, L, SUB>(l, src, how, dst)
    }
}
