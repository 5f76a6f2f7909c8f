//! The table of formats.

use super::{Class, Codec, Coding, Format, bf16, f8, f16, f32, f64};
use super::{iq4_nl, iq4_xs, mxfp4, nvfp4, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, tq1_0, tq2_0};
use crate::matmul::{Floats, Product, Tiled};

/// A row: name, GGUF type, safetensors dtype, values and bytes per block, class, codec.
const fn row(
    name: &'static str,
    ggml: Option<u32>,
    safetensors: Option<&'static str>,
    (block, bytes): (usize, usize),
    class: Class,
    codec: Option<Codec>,
) -> Format {
    Format { name, ggml, safetensors, block, bytes, class, codec }
}

const fn block(name: &'static str, ggml: u32, size: (usize, usize), codec: Option<Codec>) -> Format {
    row(name, Some(ggml), None, size, Class::Block, codec)
}

const fn integer(name: &'static str, ggml: Option<u32>, safetensors: &'static str, bytes: usize) -> Format {
    row(name, ggml, Some(safetensors), (1, bytes), Class::Integer, None)
}

/// With products of integers.
const fn tiled<T: Coding + Tiled>() -> Option<Codec> {
    Some(Codec { product: Some(Product::of_integers::<T>()), ..Codec::of::<T>() })
}

/// With products of floats.
const fn floats<T: Coding + Floats>() -> Option<Codec> {
    Some(Codec { product: Some(Product::of_floats::<T>()), ..Codec::of::<T>() })
}

/// Every storage format that a file may name. Formats with a codec can be converted, the others are recognised:
/// sized, listed and carried over unchanged.
pub static FORMATS: &[Format] = &[
    row("f32", Some(0), Some("F32"), (1, 4), Class::Float, floats::<f32::F32>()),
    row("f16", Some(1), Some("F16"), (1, 2), Class::Float, floats::<f16::F16>()),
    row("bf16", Some(30), Some("BF16"), (1, 2), Class::Float, floats::<bf16::Bf16>()),
    block("q8_0", 8, (32, 34), tiled::<q8_0::Q8_0>()),
    block("q5_1", 7, (32, 24), tiled::<q5_1::Q5_1>()),
    block("q5_0", 6, (32, 22), tiled::<q5_0::Q5_0>()),
    block("q4_1", 3, (32, 20), tiled::<q4_1::Q4_1>()),
    block("q4_0", 2, (32, 18), tiled::<q4_0::Q4_0>()),
    row("f64", Some(28), Some("F64"), (1, 8), Class::Float, Some(Codec::decode_only::<f64::F64>())),
    row("f8_e4m3", None, Some("F8_E4M3"), (1, 1), Class::Float, Some(Codec::decode_only::<f8::E4M3>())),
    row("f8_e5m2", None, Some("F8_E5M2"), (1, 1), Class::Float, Some(Codec::decode_only::<f8::E5M2>())),
    integer("i8", Some(24), "I8", 1),
    integer("i16", Some(25), "I16", 2),
    integer("i32", Some(26), "I32", 4),
    integer("i64", Some(27), "I64", 8),
    integer("u8", None, "U8", 1),
    integer("u16", None, "U16", 2),
    integer("u32", None, "U32", 4),
    integer("u64", None, "U64", 8),
    integer("bool", None, "BOOL", 1),
    block("q8_1", 9, (32, 36), None),
    block("q2_k", 10, (256, 84), tiled::<q2_k::Q2K>()),
    block("q3_k", 11, (256, 110), tiled::<q3_k::Q3K>()),
    block("q4_k", 12, (256, 144), tiled::<q4_k::Q4K>()),
    block("q5_k", 13, (256, 176), tiled::<q5_k::Q5K>()),
    block("q6_k", 14, (256, 210), tiled::<q6_k::Q6K>()),
    block("q8_k", 15, (256, 292), None),
    block("iq2_xxs", 16, (256, 66), None),
    block("iq2_xs", 17, (256, 74), None),
    block("iq3_xxs", 18, (256, 98), None),
    block("iq1_s", 19, (256, 50), None),
    block("iq4_nl", 20, (32, 18), tiled::<iq4_nl::Iq4Nl>()),
    block("iq3_s", 21, (256, 110), None),
    block("iq2_s", 22, (256, 82), None),
    block("iq4_xs", 23, (256, 136), tiled::<iq4_xs::Iq4Xs>()),
    block("iq1_m", 29, (256, 56), None),
    block("tq1_0", 34, (256, 54), Some(Codec::of::<tq1_0::Tq1_0>())),
    block("tq2_0", 35, (256, 66), Some(Codec::of::<tq2_0::Tq2_0>())),
    block("mxfp4", 39, (32, 17), tiled::<mxfp4::Mxfp4>()),
    block("nvfp4", 40, (64, 36), Some(Codec::of::<nvfp4::Nvfp4>())),
    block("q1_0", 41, (128, 18), None),
    block("q2_0", 42, (64, 18), None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for (i, a) in FORMATS.iter().enumerate() {
            for b in &FORMATS[i + 1..] {
                assert_ne!(a.name, b.name);
                assert!(a.ggml.is_none() || a.ggml != b.ggml, "{a:?} {b:?}");
                assert!(a.safetensors.is_none() || a.safetensors != b.safetensors, "{a:?} {b:?}");
            }
            assert!(a.ggml.is_some() || a.safetensors.is_some(), "{a:?} is in no container");
        }
    }

    #[test]
    fn sizes() {
        let q8 = Format::by_name("Q8_0").unwrap();
        assert_eq!(q8.size_of(64), Some(68));
        assert_eq!(q8.size_of(33), None);
        assert_eq!(Format::by_name("f64").unwrap().size_of(u64::MAX), None);
        assert_eq!(q8.bits_per_weight(), 8.5);
    }
}
