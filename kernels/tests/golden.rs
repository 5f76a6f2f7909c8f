//! Bytes of an independent implementation (PyPI `gguf`): what we encode is what it encodes, what we decode is what it
//! decodes, at every level.

use std::path::PathBuf;
use tersor_kernels::{Effort, Encoding, FORMATS, Level, NonFinite};

/// What keeps the reference's bytes.
const FAST: Encoding<'_> = Encoding { importance: None, effort: Effort::Fast, non_finite: NonFinite::Refuse };

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn exists(name: &str) -> bool {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden").join(name).exists()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn random_bytes_decode_as_in_pypi_gguf() {
    for format in FORMATS.iter().filter(|f| f.decoder().is_some() && exists(&format!("{}.rand.bin", f.name))) {
        let bytes = golden(&format!("{}.rand.bin", format.name));
        let values = floats(&golden(&format!("{}.rand.f32", format.name)));
        for level in Level::available() {
            let mut decoded = vec![0.0; values.len()];
            format.decoder().unwrap()(level, &bytes, &mut decoded);
            assert_eq!(bits(&decoded), bits(&values), "{format:?} {}", level.name());
        }
    }
}

#[test]
fn encoded_and_decoded_as_pypi_gguf_does() {
    let rows = floats(&golden("rows.f32"));
    for format in FORMATS {
        let Some(encode) = format.encoder().filter(|_| exists(&format!("{}.bin", format.name))) else { continue };
        let wanted = golden(&format!("{}.bin", format.name));
        let values = floats(&golden(&format!("{}.f32", format.name)));
        for level in Level::available() {
            let mut bytes = vec![0; wanted.len()];
            let fit = encode(level, &rows, &FAST, &mut bytes).unwrap();
            let first = bytes.iter().zip(&wanted).position(|(a, b)| a != b);
            assert_eq!(first.map(|at| at / format.bytes), None, "{format:?} {}: first differing block", level.name());
            let mut decoded = vec![0.0; values.len()];
            format.decoder().unwrap()(level, &wanted, &mut decoded);
            assert_eq!(bits(&decoded), bits(&values), "{format:?} {}", level.name());
            let error: f64 = rows.iter().zip(&values).map(|(x, y)| f64::from(y - x).powi(2)).sum();
            assert!((fit.error - error).abs() <= 1e-5 * error, "{format:?}: {} for {error}", fit.error);
        }
    }
}
