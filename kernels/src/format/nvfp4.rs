//! nvfp4: 4-bit floats with an 8-bit float scale per 16 values.

use super::block32::sixteen;
use super::mxfp4::{E2M1_TWICE, ZERO};
use super::search::grid::E2m1;
use super::search::symmetric::{best_of, set_codes};
use super::search::tile::{self, Searched, Work, spread, top};
use super::{BadValue, Coding, Decoding, Encoding, Fit, block32, k};
use crate::simd::Lanes;

pub(super) struct Nvfp4;

/// Values per block: four sub-blocks.
const BLOCK: usize = 64;

/// Half of each UE4M3 scale (bias 7, the top bit means nothing). As in ggml, 0x7f is 0 and 0xff is 480, not NaN.
const HALF_SCALES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = (code >> 3 & 15, (code & 7) as f32);
        let normal = f32::from_bits((exponent as u32 + 119) << 23) * (1.0 + mantissa / 8.0);
        values[code] = if exponent == 0 { mantissa / 1024.0 } else { normal };
        code += 1;
    }
    values[0x7f] = 0.0;
    values
};

impl Decoding for Nvfp4 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 36;
    const ABOUT: &'static str = "4 bytes d (float8 with 4 exponent bits, no sign), one for each 16 values, then 8 bytes \
        for each: byte j holds element j in its low and j + 8 in its high half; w = d * E2M1[q] as in mxfp4.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (block, y) in src.as_chunks::<36>().0.iter().zip(dst.as_chunks_mut::<BLOCK>().0) {
            for (part, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let d = [HALF_SCALES[usize::from(block[2 * part])], HALF_SCALES[usize::from(block[2 * part + 1])]];
                let codes = l.lookup(&E2M1_TWICE, l.bytes(&by_eights(sixteen(block, 4 + 16 * part))));
                k::scaled(l, codes, ZERO, d).store(l, y);
            }
        }
    }
}

/// The halves of two sub-blocks' bytes: eight low, eight high, eight low, eight high.
#[inline(always)]
fn by_eights(bytes: &[u8; 16]) -> [u8; 32] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    let mut out = [0; 32];
    for (bytes, out) in bytes.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<16>().0) {
        let both = u64::from_le_bytes(*bytes);
        out[..8].copy_from_slice(&(both & LOW).to_le_bytes());
        out[8..].copy_from_slice(&(both >> 4 & LOW).to_le_bytes());
    }
    out
}

/// Values that share a scale.
const SUB: usize = 16;
/// The largest number of the grid.
const TOP: f32 = 6.0;
/// The code of the largest scale, 448.
const LAST: i32 = 0x7e;

/// Codes beside that of max|x| / 6.
const FAST: &[[i32; 3]] = &[[0, -1, 1]];
const BEST: &[[i32; 3]] = &[[0, -1, 1], [-2, 2, 3]];

/// The scale with this code.
#[inline(always)]
fn scale_of(code: i32) -> f32 {
    2.0 * HALF_SCALES[code as usize]
}

/// The code of the scale next to `x`; half of a step goes up.
#[inline(always)]
fn nearest(x: f32) -> i32 {
    const HALF: u32 = 1 << 19;
    const BIAS: u32 = 120 << 3;
    if x < 1.0 / 64.0 {
        // Steps of 2^-9.
        return (x * 512.0 + 0.5) as i32;
    }
    (((x.to_bits() + HALF) >> 20) as i32 - BIAS as i32).min(LAST)
}

impl Searched<SUB> for Nvfp4 {
    const GROUP: usize = 1;
    const SCALE_AT: Option<usize> = None;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let offsets = how.pick(FAST, BEST);
        let mut codes = [0; 16];
        for (code, top) in codes.iter_mut().zip(spread(l, top(l, work))) {
            *code = nearest(top / TOP);
        }
        let start = codes;
        for offsets in offsets {
            let zero = l.splat(0.0);
            // The best so far takes the place of "none".
            let (mut names, mut scales) = ([zero; 4], [zero; 4]);
            for j in 0..4 {
                let (mut name, mut scale) = ([0.0; 16], [0.0; 16]);
                for i in 0..16 {
                    let code = if j == 0 { codes[i] } else { (start[i] + offsets[j - 1]).clamp(0, LAST) };
                    (name[i], scale[i]) = (code as f32, scale_of(code));
                }
                (names[j], scales[j]) = (l.load(&name), l.load(&scale));
            }
            let (best, _) = best_of::<L, E2m1, SUB, WEIGHED, 4>(l, work, scales, names);
            for (code, best) in codes.iter_mut().zip(spread(l, best)) {
                *code = best as i32;
            }
        }
        let mut scales = [0.0; 16];
        for i in 0..16 {
            scales[i] = scale_of(codes[i]);
        }
        set_codes::<L, E2m1, SUB>(l, work, l.load(&scales));
        for (n, (values, out)) in work.pack(l).chunks_exact(BLOCK).zip(out.chunks_exact_mut(Self::BYTES)).enumerate() {
            for j in 0..4 {
                out[j] = codes[n * 4 + j] as u8;
                for i in 0..8 {
                    out[4 + j * 8 + i] = values[j * SUB + i] | values[j * SUB + 8 + i] << 4;
                }
            }
        }
    }
}

impl Coding for Nvfp4 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        // The largest scale does not say so when it is too small.
        let limit = TOP * scale_of(LAST) * 1.03;
        for (n, x) in src.chunks(BLOCK).enumerate() {
            let top = block32::top(x);
            if top.is_finite() && top > limit {
                return Err(BadValue::Overflow { index: n * BLOCK, value: top });
            }
        }
        tile::encode::<Nvfp4, L, SUB>(l, src, how, dst)
    }
}
