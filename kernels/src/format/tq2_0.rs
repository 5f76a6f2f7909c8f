//! tq2_0: -1, 0 and 1 in 2-bit codes, with one scale per 256 values.

use super::block32::{Pair, half_at, thirty_two};
use super::k::SUPER;
use super::q2_k::pack_pairs;
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Encoding, Fit};
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

type Codes = Integers<-1, 1>;

const FAST: Search = Search { images: &[1.5, 2.0, 2.5, 1.0], around: &[], refits: 0 };
const BEST: Search = Search { images: &[1.5, 2.0, 2.5, 1.0], around: &[-0.2, 0.2, 0.1, -0.1], refits: 1 };

/// Scales of sixteen blocks, in half precision; the codes are in `work`, from 0.
#[inline(always)]
pub(super) fn search<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUPER>, how: &Encoding<'_>) -> [u16; 16] {
    symmetric::blocks::<L, Codes, SUPER, WEIGHED>(l, work, how.pick(&FAST, &BEST))
}

impl Searched<SUPER> for Tq2_0 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(64);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUPER>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = search::<L, WEIGHED>(l, work, how);
        let blocks = work.pack(l).chunks_exact(SUPER).zip(out.chunks_exact_mut(Self::BYTES));
        for ((codes, out), d) in blocks.zip(d) {
            pack_pairs(codes, &mut out[..64]);
            out[64..66].copy_from_slice(&d.to_le_bytes());
        }
    }
}

impl Coding for Tq2_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Tq2_0, L, SUPER>(l, src, how, dst)
    }
}
