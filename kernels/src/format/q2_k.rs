//! q2_k: 2-bit codes with a 4-bit scale and minimum per 16 values.

use super::Decoding;
use super::block32::{half_at, sixteen, thirty_two};
use super::k::{self, SUPER};
use crate::simd::Lanes;

pub(super) struct Q2K;

impl Decoding for Q2K {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 84;
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
