//! iq4_xs: the codes of iq4_nl in super-blocks of 256, with a six-bit scale per 32 values.

use super::block32::{NAN, half_at, pack_nibbles, sixteen};
use super::iq4_nl::decode_nibbles;
use super::search::grid::Iq4;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Iq4Xs;

/// Values of a block, and those that share a scale.
const BLOCK: usize = 256;
const SUB: usize = 32;

const FAST: Search = Search { images: &[-137.0, -123.0, 112.0, 125.0], around: &[], refits: 0 };
const BEST: Search =
    Search { images: &[-140.0, -126.0, -113.0, -103.0, 92.2, 109.0, 118.0, 132.0], around: &[], refits: 0 };

impl Decoding for Iq4Xs {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 136;
    const ABOUT: &'static str = "f16 d, u16 with two high bits of each of 8 six-bit scales, 4 bytes with their low half \
        bytes, then 16 bytes per 32 values as in q4_0; w = d * (scale - 32) * v[q], with iq4_nl's v.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let d = half_at(l, bytes, 0);
            let high = u16::from_le_bytes([bytes[2], bytes[3]]);
            for (n, y) in y.chunks_exact_mut(SUB).enumerate() {
                let low = bytes[4 + n / 2] >> (4 * (n % 2)) & 15;
                let step = i32::from(low) + (i32::from(high) >> (2 * n) & 3) * 16 - 32;
                decode_nibbles(l, d * step as f32, sixteen(bytes, 8 + n * 16), y);
            }
        }
    }
}

impl Searched<SUB> for Iq4Xs {
    const GROUP: usize = 8;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, rounds) = match how.effort {
            Effort::Fast => (&FAST, 1),
            Effort::Best => (&BEST, 1),
        };
        let scales = symmetric::scales::<L, Iq4, SUB, WEIGHED>(l, work, search);
        let shared = symmetric::share::<L, Iq4, SUB, 8, -32, WEIGHED>(l, work, scales, rounds);
        symmetric::set_codes::<L, Iq4, SUB>(l, work, shared.scales);
        let steps = l.codes(l.add(shared.steps, l.splat(32.0))).0;
        for (n, (codes, out)) in work.pack(l).chunks_exact(BLOCK).zip(out.chunks_exact_mut(Self::BYTES)).enumerate() {
            out[..2].copy_from_slice(&shared.d[n * 8].to_le_bytes());
            let mut high = 0u16;
            out[4..8].fill(0);
            for (j, step) in steps[n * 8..][..8].iter().enumerate() {
                high |= u16::from(step >> 4) << (2 * j);
                out[4 + j / 2] |= (step & 15) << (4 * (j % 2));
            }
            out[2..4].copy_from_slice(&high.to_le_bytes());
            for (codes, out) in codes.as_chunks::<SUB>().0.iter().zip(out[8..].chunks_exact_mut(16)) {
                pack_nibbles(sixteen(codes, 0), sixteen(codes, 16), out);
            }
        }
    }

    fn poison(block: &mut [u8]) -> bool {
        block[0..2].copy_from_slice(&NAN);
        true
    }
}

impl Coding for Iq4Xs {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Iq4Xs, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
