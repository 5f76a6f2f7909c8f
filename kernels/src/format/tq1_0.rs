//! tq1_0: the codes -1, 0 and 1, five in a byte, with one scale per 256 values.

use super::block32::{NAN, half_at};
use super::search::tile::{self, Searched, Work};
use super::tq2_0::{BLOCK, search, values};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Tq1_0;

/// Runs of bytes: where they start, their number, and how many codes each byte holds. Code k of byte j of a run is the
/// (j + k * number)th of the run's values.
const RUNS: [(usize, usize, usize); 3] = [(0, 32, 5), (32, 16, 5), (48, 4, 4)];
/// What multiplies the codes of a byte.
const POWERS: [u16; 5] = [81, 27, 9, 3, 1];

impl Decoding for Tq1_0 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 54;
    const ABOUT: &'static str = "32 and 16 bytes of five base-3 digits and 4 bytes of four, f16 d; a byte is \
        ceil(n * 256 / 243) of its number n, the first digit the highest; digit k of byte j is element j + k * (bytes of \
        its run); w = d * (q - 1), q from 0 to 2.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let mut codes = [0u8; BLOCK];
            let mut at = 0;
            for (start, count, digits) in RUNS {
                let mut run = [0u8; 32];
                run[..count].copy_from_slice(&bytes[start..start + count]);
                for _ in 0..digits {
                    for (byte, code) in run[..count].iter_mut().zip(&mut codes[at..at + count]) {
                        // The next digit is what three times the byte carries over.
                        let tripled = u16::from(*byte) * 3;
                        *code = (tripled >> 8) as u8;
                        *byte = tripled as u8;
                    }
                    at += count;
                }
            }
            values(l, half_at(l, bytes, 52), &codes, y);
        }
    }
}

impl Searched<BLOCK> for Tq1_0 {
    const GROUP: usize = 1;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<BLOCK>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = search::<L, WEIGHED>(l, work, how);
        let blocks = work.pack(l).chunks_exact(BLOCK).zip(out.chunks_exact_mut(Self::BYTES));
        for ((codes, out), d) in blocks.zip(d) {
            let mut rest = codes;
            for (start, count, digits) in RUNS {
                let (run, after) = rest.split_at(count * digits);
                rest = after;
                for (j, out) in out[start..start + count].iter_mut().enumerate() {
                    let mut number = 0;
                    for k in 0..digits {
                        number += u16::from(run[j + k * count]) * POWERS[k];
                    }
                    *out = (number * 256).div_ceil(243) as u8;
                }
            }
            out[52..54].copy_from_slice(&d.to_le_bytes());
        }
    }

    fn poison(block: &mut [u8]) -> bool {
        block[52..54].copy_from_slice(&NAN);
        true
    }
}

impl Coding for Tq1_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Tq1_0, L, BLOCK>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
