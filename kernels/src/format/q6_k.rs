//! q6_k: 6-bit codes with an 8-bit scale per 16 values.

use super::Decoding;
use super::block32::{half_at, sixteen};
use super::k::{self, SUPER};
use crate::simd::Lanes;

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
