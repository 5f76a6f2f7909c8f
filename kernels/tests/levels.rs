//! Every format at every level of this CPU: the same bytes as the scalar level, within the stated bound, and what is
//! refused is refused alike.

#![allow(clippy::print_stdout)]

use tersor_kernels::{BadValue, Class, FORMATS, Format, Level, NonFinite};

/// A small generator, so that the rows are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

/// Rows of 256 values that have gone wrong somewhere before: name and values.
fn rows() -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Random(7);
    let mut noise = |scale: f32| (0..256).map(|_| random.next() * scale).collect::<Vec<f32>>();
    let mut outlier = noise(0.02);
    outlier[77] = -31.0;
    let bf16: Vec<f32> = noise(0.1).iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect();
    vec![
        ("random", noise(0.04)),
        ("large", noise(2000.0)),
        ("tiny", noise(1e-6)),
        ("denormal", noise(1e-40)),
        ("bf16", bf16),
        ("one outlier", outlier),
        ("zero", vec![0.0; 256]),
        ("negative zero", vec![-0.0; 256]),
        ("constant", vec![0.3; 256]),
        ("ties", (0..256).map(|i| (i % 16) as f32 - 7.5).collect()),
        ("equal magnitudes", (0..256).map(|i| if i % 3 == 0 { -1.5 } else { 1.5 }).collect()),
        ("positive", noise(1.0).iter().map(|x| x.abs() + 1.0).collect()),
    ]
}

fn encode(format: &Format, level: Level, row: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xaa; format.size_of(row.len() as u64).unwrap() as usize];
    format.encoder().unwrap()(level, row, NonFinite::Refuse, &mut bytes).unwrap();
    bytes
}

fn decode(format: &Format, level: Level, bytes: &[u8], values: usize) -> Vec<f32> {
    let mut row = vec![f32::NAN; values];
    format.decoder().unwrap()(level, bytes, &mut row);
    row
}

fn written() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|f| f.encoder().is_some())
}

#[test]
fn all_levels_give_the_bytes_of_the_scalar_one() {
    println!("levels of this CPU: {:?}", Level::available());
    for format in written() {
        for (name, row) in rows() {
            let wanted = encode(format, Level::SCALAR, &row);
            for level in Level::available() {
                assert_eq!(encode(format, level, &row), wanted, "{format:?} {} on {name}", level.name());
            }
        }
    }
}

#[test]
fn no_value_is_further_off_than_the_format_states() {
    for format in written() {
        let worst = format.codec.unwrap().worst;
        for (name, row) in rows() {
            let back = decode(format, Level::best(), &encode(format, Level::best(), &row), row.len());
            for (x, y) in row.chunks(format.block).zip(back.chunks(format.block)) {
                let bound = worst(x);
                for (x, y) in x.iter().zip(y) {
                    assert!((x - y).abs() <= bound, "{format:?} on {name}: {x} became {y}, bound {bound}");
                }
            }
        }
    }
}

#[test]
fn any_bytes_decode_alike() {
    let mut random = Random(3);
    for format in FORMATS.iter().filter(|f| f.codec.is_some()) {
        let bytes: Vec<u8> = (0..format.bytes * 64).map(|_| (random.next() * 256.0) as i32 as u8).collect();
        let bits = |level| -> Vec<u32> {
            let values = decode(format, level, &bytes, 64 * format.block);
            values.iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect()
        };
        for level in Level::available() {
            assert_eq!(bits(level), bits(Level::SCALAR), "{format:?} {}", level.name());
        }
    }
}

#[test]
fn non_finite_values_are_found_where_they_are() {
    for format in written() {
        for level in Level::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut row = vec![0.25; 320];
                row[197] = bad;
                let mut bytes = vec![0; format.size_of(320).unwrap() as usize];
                match format.encoder().unwrap()(level, &row, NonFinite::Refuse, &mut bytes) {
                    Err(BadValue::NonFinite { index: 197, value }) if value.to_bits() == bad.to_bits() => {}
                    other => panic!("{format:?} {}: {other:?}", level.name()),
                }
                format.encoder().unwrap()(level, &row, NonFinite::Keep, &mut bytes).unwrap();
                let back = decode(format, level, &bytes, 320);
                assert!(!back[197].is_finite(), "{format:?} kept {} as {}", bad, back[197]);
                let spread = if format.class == Class::Block { format.block } else { 1 };
                let finite = back.iter().filter(|v| v.is_finite()).count();
                assert_eq!(finite, 320 - spread, "{format:?}");
            }
        }
    }
}

#[test]
fn what_half_precision_cannot_hold_is_an_error() {
    for name in ["f16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"] {
        let format = Format::by_name(name).unwrap();
        let mut row = vec![0.0; 64];
        row[40] = 3e7;
        let mut bytes = vec![0; format.size_of(64).unwrap() as usize];
        for level in Level::available() {
            let result = format.encoder().unwrap()(level, &row, NonFinite::Refuse, &mut bytes);
            assert!(matches!(result, Err(BadValue::Overflow { index: 32 | 40, .. })), "{name}: {result:?}");
        }
    }
}

#[test]
fn no_values_are_no_bytes() {
    for format in written() {
        assert_eq!(encode(format, Level::best(), &[]), []);
    }
}
