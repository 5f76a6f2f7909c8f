//! q8_0: 8-bit codes with one scale per 32 values.

use super::block32::{self, Block32, Extremes, Pair, half_at, sixteen};
use super::{BadValue, Coding, Encoding, Fit};
use crate::matmul::tiled::{self, Lines, Tiled};
use crate::simd::Lanes;

pub(crate) struct Q8_0;

impl Block32 for Q8_0 {
    const BYTES: usize = 34;
    const ABOUT: &'static str = "f16 d, then 32 signed bytes q: w = d * q. \
        d = max|x| / 127, q = round(x * (1 / d)), half away from zero.";

    #[inline(always)]
    fn scales<L: Lanes>(l: L, of: &Extremes<L>) -> (L::F, L::F) {
        (l.div(l.abs(of.largest), l.splat(127.0)), l.splat(0.0))
    }

    #[inline(always)]
    fn codes<L: Lanes>(l: L, x: L::F, inverse: L::F, _: L::F) -> ([u8; 16], L::F) {
        // Half away from zero: the largest float below one half does not push 0.49999997 over the edge.
        let scaled = l.mul(x, inverse);
        l.codes(l.add(scaled, l.copysign(l.splat(0.499_999_97), scaled)))
    }

    #[inline(always)]
    fn pack(low: &[u8; 16], high: &[u8; 16], out: &mut [u8]) {
        out[..16].copy_from_slice(low);
        out[16..32].copy_from_slice(high);
    }

    #[inline(always)]
    fn decode_block<L: Lanes>(l: L, bytes: &[u8]) -> Pair<L> {
        let d = half_at(l, bytes, 0);
        Pair(l.mul(d, l.widen_i8(sixteen(bytes, 2))), l.mul(d, l.widen_i8(sixteen(bytes, 18))))
    }
}

impl Tiled for Q8_0 {
    const LINES: Lines = Lines::Bytes;
    const ZERO: u8 = 128;
    const SUB: usize = 32;

    fn take_apart(block: &[u8], row: usize, scales: &mut [u8], codes: &mut [u8]) {
        tiled::put_half(scales, 0, row, [block[0], block[1]]);
        for (code, byte) in codes.iter_mut().zip(&block[2..]) {
            *code = byte ^ 128;
        }
    }
}

impl Coding for Q8_0 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        block32::encode_blocks::<Q8_0, L>(l, src, how, dst)
    }

    fn worst(x: &[f32]) -> f32 {
        block32::worst_of(block32::top(x) / 127.0, 0.5, 127.0)
    }
}
