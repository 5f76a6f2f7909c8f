//! q3_k: 3-bit codes with a six-bit scale per 16 values.

use super::Decoding;
use super::block32::{half_at, thirty_two, word_at};
use super::k::{self, SUPER};
use crate::simd::Lanes;

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
    const LOW: u32 = 0x0f0f_0f0f;
    const UPPER: u32 = 0x3030_3030;
    let [a, b, upper] = [word_at(block, 96), word_at(block, 100), word_at(block, 104)];
    let words = [
        a & LOW | upper << 4 & UPPER,
        b & LOW | upper << 2 & UPPER,
        a >> 4 & LOW | upper & UPPER,
        b >> 4 & LOW | upper >> 2 & UPPER,
    ];
    l.sub(l.widen_u8(&k::sixteen_bytes(words)), l.splat(32.0))
}
