//! tq1_0: -1, 0 and 1, five to a byte, with one scale per 256 values.

use super::block32::{Pair, half_at};
use super::k::SUPER;
use super::search::tile::{self, Searched, Work};
use super::tq2_0::search;
use super::{BadValue, Coding, Decoding, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Tq1_0;

impl Decoding for Tq1_0 {
    const BLOCK: usize = SUPER;
    const BYTES: usize = 54;
    const ABOUT: &'static str = "Bytes that are fractions of 256 written in base 3: digit n of byte b is \
        trunc(3 * (b * 3^n mod 256) / 256). 32 bytes with five digits (digit n of byte j is element 32n + j), 16 bytes \
        with five (160 + 16n + j), 4 bytes with four (240 + 4n + j), then f16 d; w = d * (digit - 1).";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<54>().0.iter().zip(dst.as_chunks_mut::<SUPER>().0) {
            let d = half_at(l, block, 52);
            let mut digits = [0; SUPER];
            unpack::<32>(&block[..32], &mut digits[..160]);
            unpack::<16>(&block[32..48], &mut digits[160..240]);
            unpack::<4>(&block[48..52], &mut digits[240..]);
            for (digits, y) in digits.as_chunks::<32>().0.iter().zip(y.as_chunks_mut::<32>().0) {
                Pair::scaled(l, l.bytes(digits), 1, d).store(l, y);
            }
        }
    }
}

/// The first digit of all bytes, then the second, and so on, as many as `out` holds.
#[inline(always)]
fn unpack<const N: usize>(bytes: &[u8], out: &mut [u8]) {
    let mut fractions = bytes.as_chunks::<N>().0[0];
    for digits in out.as_chunks_mut::<N>().0 {
        for (fraction, digit) in fractions.iter_mut().zip(digits) {
            *digit = ((3 * u16::from(*fraction)) >> 8) as u8;
            *fraction = fraction.wrapping_mul(3);
        }
    }
}

/// Runs of bytes: where they start, their number, and how many digits each byte holds.
const RUNS: [(usize, usize, usize); 3] = [(0, 32, 5), (32, 16, 5), (48, 4, 4)];
/// What multiplies the digits of a byte.
const POWERS: [u16; 5] = [81, 27, 9, 3, 1];

impl Searched<SUPER> for Tq1_0 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = Some(52);

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUPER>, how: &Encoding<'_>, out: &mut [u8]) {
        let d = search::<L, WEIGHED>(l, work, how);
        let blocks = work.pack(l).chunks_exact(SUPER).zip(out.chunks_exact_mut(Self::BYTES));
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
}

impl Coding for Tq1_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        tile::encode::<Tq1_0, L, SUPER>(l, src, how, dst)
    }
}
