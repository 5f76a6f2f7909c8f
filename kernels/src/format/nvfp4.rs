//! nvfp4: 4-bit floats with an 8-bit float as scale per 16 values.

use super::block32;
use super::f8::UE4M3;
use super::search::grid::{E2M1, E2m1};
use super::search::symmetric::{best_of, set_codes};
use super::search::tile::{self, Searched, Work, spread, top};
use super::{BadValue, Coding, Decoding, Effort, Encoding, Fit};
use crate::simd::Lanes;

pub(super) struct Nvfp4;

/// Values of a block, and those that share a scale.
const BLOCK: usize = 64;
const SUB: usize = 16;
/// The largest number of the grid.
const TOP: f32 = 6.0;
/// The code of the largest scale, 448.
const LAST: i32 = 0x7e;

/// Codes beside that of max|x| / 6.
const FAST: &[[i32; 3]] = &[[0, -1, 1]];
const BEST: &[[i32; 3]] = &[[0, -1, 1], [-2, 2, 3]];

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

impl Decoding for Nvfp4 {
    const BLOCK: usize = BLOCK;
    const BYTES: usize = 36;
    const ABOUT: &'static str = "4 scales of 16 values each as unsigned 8-bit floats (4 exponent bits, bias 7, 3 mantissa \
        bits), then 8 bytes per 16 values: byte j holds element j in its low and j + 8 in its high half; \
        w = scale * v[q], with mxfp4's v.";

    #[inline(always)]
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]) {
        for (bytes, y) in src.chunks_exact(Self::BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let (scales, codes) = bytes.split_at(4);
            for ((scale, codes), y) in scales.iter().zip(codes.chunks_exact(8)).zip(y.as_chunks_mut::<SUB>().0) {
                for i in 0..8 {
                    y[i] = E2M1[usize::from(codes[i] & 15)];
                    y[i + 8] = E2M1[usize::from(codes[i] >> 4)];
                }
                l.store(l.mul(l.splat(UE4M3[usize::from(*scale)]), l.load(y)), y);
            }
        }
    }
}

impl Searched<SUB> for Nvfp4 {
    const GROUP: usize = 1;

    #[inline(always)]
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<SUB>, how: &Encoding<'_>, out: &mut [u8]) {
        let offsets = match how.effort {
            Effort::Fast => FAST,
            Effort::Best => BEST,
        };
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
                    (name[i], scale[i]) = (code as f32, UE4M3[code as usize]);
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
            scales[i] = UE4M3[codes[i] as usize];
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

    fn poison(_: &mut [u8]) -> bool {
        false
    }
}

impl Coding for Nvfp4 {
    #[inline(always)]
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue> {
        // The largest scale does not say so when it is too small.
        let limit = TOP * UE4M3[LAST as usize] * 1.03;
        for (n, x) in src.chunks(BLOCK).enumerate() {
            let top = block32::top(x);
            if top.is_finite() && top > limit {
                return Err(BadValue::Overflow { index: n * BLOCK, value: top });
            }
        }
        tile::encode::<Nvfp4, L, SUB>(l, src, how, dst)
    }

    fn worst(block: &[f32]) -> f32 {
        tile::worst(block)
    }
}
