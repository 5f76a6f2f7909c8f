//! tq2_0: the codes -1, 0 and 1 in two bits each, with one scale per 256 values.

use super::block32::{NAN, half_at, sixteen};
use super::q2_k::{pack_pairs, unpack_pairs};
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Tq2_0;

/// Values of a block.
pub(super) const BLOCK: usize = 256;
pub(super) type Codes = Integers<-1, 1>;

pub(super) const FAST: Search = Search { images: &[1.5, 2.0, 2.5, 1.0], around: &[], refits: 0 };
pub(super) const BEST: Search = Search { images: &[1.5, 2.0, 2.5, 1.0], around: &[-0.2, 0.2, 0.1, -0.1], refits: 1 };

/// Scales of sixteen blocks, in half precision; the codes are in `work`, from 0.
#[inline(always)]
pub(super) fn search<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>) -> [u16; 16] {
    let search = match how.effort {
        Effort::Fast => &FAST,
        Effort::Best => &BEST,
    };
    let d = l.halves(symmetric::scales::<L, Codes, BLOCK, WEIGHED>(l, work, search));
    symmetric::set_codes::<L, Codes, BLOCK>(l, work, l.half_values(&d));
    d
}

/// Values for codes from 0 and a scale.
#[inline(always)]
pub(super) fn values<L: Lanes>(l: L, d: f32, codes: &[u8; BLOCK], y: &mut [f32]) {
    let (d, one) = (l.splat(d), l.splat(1.0));
    for (n, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        l.store(l.mul(d, l.sub(l.widen_u8(sixteen(codes, n * 16)), one)), y);
    }
}

impl Decoding for Tq2_0 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 66;
    const ABOUT: &'static str = "64 bytes of two-bit codes as in q2_k, f16 d; w = d * (q - 1), q from 0 to 2.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            values(l, half_at(l, bytes, 64), &unpack_pairs(&bytes[..64]), y);
        }
    }
}

impl Searched<BLOCK> for Tq2_0 {
    const GROUP: usize = 1;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = search::<L, WEIGHED>(l, work, how);
        let blocks = work.pack(l).chunks_exact(BLOCK).zip(out.chunks_exact_mut(Self::BYTES));
        for ((codes, out), d) in blocks.zip(d) {
            pack_pairs(codes, &mut out[..64]);
            out[64..66].copy_from_slice(&d.to_le_bytes());
        }
    }

    fn poison(block: &mut [u8]) -> bool {
        block[64..66].copy_from_slice(&NAN);
        true
    }
}

impl Coding for Tq2_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Tq2_0, L, BLOCK>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
