//! nvfp4: 4-bit floats with an 8-bit float scale per 16 values.

use super::Decoding;
use super::block32::sixteen;
use super::k;
use super::mxfp4::{E2M1_TWICE, ZERO};
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
