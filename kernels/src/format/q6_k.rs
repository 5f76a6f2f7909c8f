//! q6_k: 6-bit codes in super-blocks of 256, with an eight-bit scale per 16 values.

use super::block32::{NAN, half_at, sixteen};
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Q6K;

/// Values of a block, and those that share a scale.
const BLOCK: usize = 256;
const SUB: usize = 16;
type Codes = Integers<-32, 31>;

const FAST: Search = Search { images: &[-32.2, -31.1, 29.8, 47.1], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-47.6, -42.2, -32.1, -31.1, -26.0, -25.1, 27.0, 28.1, 28.9, 29.9, 34.9, 41.2],
    around: &[-1.29, 0.81, 1.9, 3.06],
    refits: 0,
};

impl Decoding for Q6K {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 210;
    const ABOUT: &'static str = "128 bytes of low half bytes (byte j of each 64: elements j and j + 64 of 128), 64 bytes of \
        high pairs of bits as in q2_k, 16 signed bytes of scales of 16 values, f16 d; w = d * scale * (q - 32).";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let d = half_at(l, bytes, 208);
            let mut codes = [0; BLOCK];
            for h in 0..2 {
                for i in 0..32 {
                    let (a, b, high) = (bytes[h * 64 + i], bytes[h * 64 + 32 + i], bytes[128 + h * 32 + i]);
                    codes[h * 128 + i] = a & 15 | (high & 3) << 4;
                    codes[h * 128 + 32 + i] = b & 15 | (high >> 2 & 3) << 4;
                    codes[h * 128 + 64 + i] = a >> 4 | (high >> 4 & 3) << 4;
                    codes[h * 128 + 96 + i] = b >> 4 | high >> 6 << 4;
                }
            }
            let zero = l.splat(32.0);
            for (n, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * f32::from(bytes[192 + n] as i8);
                l.store(l.mul(l.splat(scale), l.sub(l.widen_u8(sixteen(&codes, n * 16)), zero)), y);
            }
        }
    }
}

impl Searched<SUB> for Q6K {
    const GROUP: usize = 16;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, rounds) = match how.effort {
            Effort::Fast => (&FAST, 1),
            Effort::Best => (&BEST, 1),
        };
        let scales = symmetric::scales::<L, Codes, SUB, WEIGHED>(l, work, search);
        let shared = symmetric::share::<L, Codes, SUB, 16, -128, WEIGHED>(l, work, scales, rounds);
        symmetric::set_codes::<L, Codes, SUB>(l, work, shared.scales);
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

    fn poison(block: &mut [u8]) -> bool {
        block[208..210].copy_from_slice(&NAN);
        true
    }
}

impl Coding for Q6K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q6K, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
