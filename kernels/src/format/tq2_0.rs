//! tq2_0: -1, 0 and 1 in 2-bit codes, with one scale per 256 values.

use super::Decoding;
use super::block32::{Pair, half_at, thirty_two};
use super::k::SUPER;
use crate::simd::Lanes;

pub(super) struct Tq2_0;

impl Decoding for Tq2_0 {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 66;
    const ABOUT: &'static str = "64 bytes of codes as in q2_k, then f16 d; w = d * (q - 1).";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<66>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let d = half_at(l, block, 64);
            for (n, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let codes = l.bytes(thirty_two(block, n / 4 * 32));
                let codes = l.field(codes, (n % 4 * 2) as i32, 3);
                Pair::scaled(l, codes, 1, d).store(l, y);
            }
        }
    }
}
