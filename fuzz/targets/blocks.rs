//! Any bytes decode, at every level alike; any values encode, at every level alike, or are refused alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tersor_kernels::{Effort, Encoding, FORMATS, Format, Importance, Level, NonFinite};

/// Values that are encoded at most: a little more than a tile of the largest blocks.
const VALUES: usize = 17 * 256;

fuzz_target!(|data: &[u8]| {
    let Some(([choice, flags], rest)) = data.split_first_chunk() else { return };
    let format = &FORMATS[usize::from(*choice) % FORMATS.len()];
    if format.codec.is_none() {
        return;
    }
    decode_alike(format, rest);
    if format.encoder().is_some() {
        encode_alike(format, *flags, rest);
    }
});

fn decode(format: &Format, level: Level, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / format.bytes * format.block];
    format.decoder().unwrap()(level, bytes, &mut values);
    values
}

fn decode_alike(format: &Format, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len() / format.bytes * format.bytes];
    let bits = |level| -> Vec<u32> {
        let values = decode(format, level, bytes).into_iter();
        values.map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect()
    };
    let wanted = bits(Level::SCALAR);
    for level in Level::available() {
        assert_eq!(bits(level), wanted, "{format:?} {}", level.name());
    }
}

/// The values are the bytes as bf16, so that short inputs make whole blocks; the importance is the same bytes again.
fn encode_alike(format: &Format, flags: u8, bytes: &[u8]) {
    let value = |pair: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16);
    let mut values: Vec<f32> = bytes.chunks_exact(2).take(VALUES).map(value).collect();
    values.truncate(values.len() / format.block * format.block);
    let columns: Vec<f32> = values.iter().rev().map(|v| if v.is_finite() { v.abs() } else { 0.0 }).collect();
    let how = Encoding {
        importance: (flags & 1 != 0).then_some(Importance { columns: &columns, start: 0 }),
        effort: if flags & 2 != 0 { Effort::Fast } else { Effort::Best },
        non_finite: if flags & 4 != 0 { NonFinite::Keep } else { NonFinite::Refuse },
    };
    let encode = |level| {
        let mut bytes = vec![0; format.size_of(values.len() as u64).unwrap() as usize];
        format.encoder().unwrap()(level, &values, &how, &mut bytes).map(|_| bytes).map_err(|bad| format!("{bad:?}"))
    };
    let wanted = encode(Level::SCALAR);
    for level in Level::available() {
        assert_eq!(encode(level), wanted, "{format:?} {}", level.name());
    }
    if let (Ok(bytes), NonFinite::Refuse) = (wanted, how.non_finite) {
        // Only a type of floats has a range of its own; it rounds to infinity nothing that it accepts.
        let decoded = decode(format, Level::best(), &bytes);
        assert!(decoded.iter().all(|v| v.is_finite()), "{format:?} made an infinite value");
    }
}
