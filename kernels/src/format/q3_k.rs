//! q3_k: 3-bit codes in super-blocks of 256, with a six-bit scale per 16 values.

use super::block32::{NAN, half_at, sixteen};
use super::q2_k::{pack_pairs, unpack_pairs};
use super::search::grid::Integers;
use super::search::symmetric::{self, Search};
use super::search::tile::{self, Searched, Work};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Q3K;

/// Values of a block, and those that share a scale.
const BLOCK: usize = 256;
const SUB: usize = 16;
type Codes = Integers<-4, 3>;

const FAST: Search = Search { images: &[-5.14, -4.06, 3.08, 4.45], around: &[], refits: 0 };
const BEST: Search = Search {
    images: &[-6.84, -5.32, -4.42, -3.78, 3.03, 3.46, 4.28, 5.17],
    around: &[-0.48, -0.31, 0.02, 0.21],
    refits: 0,
};

impl Decoding for Q3K {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 110;
    const ABOUT: &'static str = "32 bytes of third bits (bit i of byte j belongs to element j + 32 i), 64 bytes of two low \
        bits as in q2_k, 12 bytes of six-bit scales of 16 values, f16 d; w = d * (scale - 32) * (q - 4).";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let d = half_at(l, bytes, 108);
            let mut codes = unpack_pairs(&bytes[32..96]);
            for i in 0..32 {
                for s in 0..8 {
                    codes[s * 32 + i] |= (bytes[i] >> s & 1) << 2;
                }
            }
            let scales = unpack_scales(&bytes[96..108]);
            let zero = l.splat(4.0);
            for (n, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * (f32::from(scales[n]) - 32.0);
                l.store(l.mul(l.splat(scale), l.sub(l.widen_u8(sixteen(&codes, n * 16)), zero)), y);
            }
        }
    }
}

impl Searched<SUB> for Q3K {
    const GROUP: usize = 16;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let (search, rounds) = match how.effort {
            Effort::Fast => (&FAST, 1),
            Effort::Best => (&BEST, 2),
        };
        let scales = symmetric::scales::<L, Codes, SUB, WEIGHED>(l, work, search);
        let shared = symmetric::share::<L, Codes, SUB, 16, -32, WEIGHED>(l, work, scales, rounds);
        symmetric::set_codes::<L, Codes, SUB>(l, work, shared.scales);
        let codes = work.pack(l);
        for i in 0..32 {
            let mut bits = 0;
            for s in 0..8 {
                bits |= codes[s * 32 + i] >> 2 << s;
            }
            out[i] = bits;
        }
        pack_pairs(codes, &mut out[32..96]);
        pack_scales(&l.codes(l.add(shared.steps, l.splat(32.0))).0, &mut out[96..108]);
        out[108..110].copy_from_slice(&shared.d[0].to_le_bytes());
    }

    fn poison(block: &mut [u8]) -> bool {
        block[108..110].copy_from_slice(&NAN);
        true
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

/// The reverse of [`pack_scales`].
#[inline(always)]
fn unpack_scales(bytes: &[u8]) -> [u8; 16] {
    let mut scales = [0; 16];
    for j in 0..8 {
        scales[j] = bytes[j] & 15;
        scales[j + 8] = bytes[j] >> 4;
    }
    for j in 0..16 {
        scales[j] |= (bytes[8 + j % 4] >> (2 * (j / 4)) & 3) << 4;
    }
    scales
}

impl Coding for Q3K {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Q3K, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
