//! q5_k: 5-bit codes with a six-bit scale and minimum per 32 values.

use super::Decoding;
use super::k::{self, SUPER};
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
