//! q3_k: 3-bit codes with a six-bit scale per 16 values.

use super::block32::{half_at, thirty_two, word_at};
use super::k::{self, SUPER};
use super::q2_k::pack_pairs;
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::{DotLanes, Lanes};

pub(super) struct Q3K;

impl Decoding for Q3K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 110;
    const ABOUT: &'static str = "32 bytes of third bits (of element 32i + j at bit i of byte j); 64 bytes of low pairs \
        of bits as in q2_k; 12 bytes with a six-bit sc for each 16 values: its low half in the low (first eight) or high \
        half of bytes 0 to 7, its upper two bits in bytes 8 to 11, four to a byte; f16 d; w = d * (sc - 32) * (q - 4).";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<110>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let d = k::times(l, small_scales(l, block), half_at(l, block, 108));
            let mut third = l.bytes(thirty_two(block, 0));
            for (part, y) in y.as_chunks_mut::<128>().0.iter_mut().enumerate() {
                let codes = l.bytes(thirty_two(block, 32 + 32 * part));
                for (i, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let codes = l.or(l.field(codes, 2 * i as i32, 3), l.field(third, i as i32 - 2, 4));
                    let at = 8 * part + 2 * i;
                    k::scaled(l, codes, 4, [d[at], d[at + 1]]).store(l, y);
                }
                third = l.field(third, 4, 15);
            }
        }
    }
}

/// sc - 32.
#[inline(always)]
fn small_scales<L: Lanes>(l: L, block: &[u8; 110]) -> L::F {
    l.sub(l.widen_u8(&small_bytes(block)), l.splat(32.0))
}

/// sc.
#[inline(always)]
fn small_bytes(block: &[u8]) -> [u8; 16] {
    const LOW: u32 = 0x0f0f_0f0f;
    const UPPER: u32 = 0x3030_3030;
    let [a, b, upper] = [word_at(block, 96), word_at(block, 100), word_at(block, 104)];
    let words = [
        a & LOW | upper << 4 & UPPER,
        b & LOW | upper << 2 & UPPER,
        a >> 4 & LOW | upper & UPPER,
        b >> 4 & LOW | upper >> 2 & UPPER,
    ];
    k::sixteen_bytes(words)
}

/// Values that share a scale.
const SUB: usize = 16;
type Codes = Integers<-4, 3>;

const FAST: Search = Search { images: &[-5.14, -4.06, 3.08, 4.45], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-6.84, -5.32, -4.42, -3.78, 3.03, 3.46, 4.28, 5.17],
    around: &[-0.48, -0.31, 0.02, 0.21],
    refits: 0,
};

impl Searched<SUB> for Q3K {
    const GROUP: usize = 16;
    const SCALE_AT: Option<usize> = Some(108);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let search = how.pick(&FAST, &BEST);
        let shared =
            symmetric::super_blocks::<L, Codes, SUB, -32, WEIGHED>(l, work, search, Self::GROUP, how.pick(1, 2));
        let codes = work.pack(l);
        k::pack_bits(codes, 2, &mut out[..32]);
        pack_pairs(codes, &mut out[32..96]);
        pack_scales(&l.codes(l.add(shared.steps, l.splat(32.0))).0, &mut out[96..108]);
        out[108..110].copy_from_slice(&shared.d[0].to_le_bytes());
    }
}

/// Sixteen six-bit scales: low half bytes of scales j and j + 8 in byte j, then two high bits of four scales that are
/// four apart in a byte.
#[inline(always)]
fn pack_scales(scales: &[u8; 16], out: &mut [u8]) {
    for j in 0..8 {
        out[j] = scales[j] & 15 | scales[j + 8] << 4;
    }
    for j in 0..4 {
        out[8 + j] = scales[j] >> 4 | scales[j + 4] >> 4 << 2 | scales[j + 8] >> 4 << 4 | scales[j + 12] >> 4 << 6;
    }
}

impl Tiled for Q3K {
    const LINES: Lines = Lines::PairsAndBits;
    const ZERO: u8 = 4;
    const SUB: usize = SUB;
    const SCALES: usize = tiled::HALVES + 16 * 16;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[108], block[109]]);
        let small: [u8; 16] = small_bytes(block).map(|scale| scale.wrapping_sub(32));
        tiled::put_bytes(&small, scales, tiled::HALVES, row);
        codes.fill(0);
        k::take_pairs(&block[32..96], 0, codes);
        k::take_bits(&block[..32], 2, codes);
    }

    #[inline(always)]
    fn scale<L: DotLanes>(l: L, scales: &[u8], sub: usize) -> L::F {
        tiled::signed_scale(l, scales, sub)
    }
}

impl Coding for Q3K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q3K, L, SUB>(l, src, how, dst)
    }
}
