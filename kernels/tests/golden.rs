//! Bytes of an independent implementation (PyPI `gguf`): what we encode is what it encodes, what we decode is what it
//! decodes, at every level.

use std::path::PathBuf;
use tersor_kernels::{Class, Effort, Encoding, FORMATS, Level, NonFinite};

/// What keeps the reference's bytes.
const FAST: Encoding<'_> = Encoding { importance: None, effort: Effort::Fast, non_finite: NonFinite::Refuse };

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden").join(name)
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn decoded_as_pypi_gguf_does() {
    for format in FORMATS {
        let Some(decode) = format.decoder() else { continue };
        let mut pairs = vec![format.name.to_owned(), format!("{}.rand", format.name)];
        pairs.retain(|pair| path(&format!("{pair}.bin")).exists());
        assert!(format.class != Class::Block || !pairs.is_empty(), "{format:?} has no golden pair");
        for pair in pairs {
            let (bytes, values) = (golden(&format!("{pair}.bin")), floats(&golden(&format!("{pair}.f32"))));
            for level in Level::available() {
                let mut decoded = vec![f32::NAN; values.len()];
                decode(level, &bytes, &mut decoded);
                let first = bits(&decoded).iter().zip(bits(&values)).position(|(a, b)| *a != b);
                assert_eq!(first, None, "{pair} {}: first differing value", level.name());
            }
        }
    }
}

#[test]
fn encoded_as_pypi_gguf_does() {
    let rows = floats(&golden("rows.f32"));
    for format in FORMATS {
        let Some(encode) = format.encoder().filter(|_| path(&format!("{}.bin", format.name)).exists()) else {
            continue;
        };
        let wanted = golden(&format!("{}.bin", format.name));
        let values = floats(&golden(&format!("{}.f32", format.name)));
        for level in Level::available() {
            let mut bytes = vec![0; wanted.len()];
            let fit = encode(level, &rows, &FAST, &mut bytes).unwrap();
            let first = bytes.iter().zip(&wanted).position(|(a, b)| a != b);
            assert_eq!(first.map(|at| at / format.bytes), None, "{format:?} {}: first differing block", level.name());
            let error: f64 = rows.iter().zip(&values).map(|(x, y)| f64::from(y - x).powi(2)).sum();
            assert!((fit.error - error).abs() <= 1e-5 * error, "{format:?}: {} for {error}", fit.error);
        }
    }
}
