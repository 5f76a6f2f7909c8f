//! Every format at every level of this CPU: the same bytes as the scalar level, within the stated bound, and what is
//! refused is refused alike.

#![allow(clippy::print_stdout)]

use tersor_kernels::{BadValue, Class, Effort, Encoding, FORMATS, Format, Importance, Level, NonFinite};

const FAST: Encoding<'_> = Encoding { importance: None, effort: Effort::Fast, non_finite: NonFinite::Refuse };
const BEST: Encoding<'_> = Encoding { effort: Effort::Best, ..FAST };

/// Values of a row: two and a half of the largest tiles but one.
const ROW: usize = 1280;

/// A small generator, so that the rows are the same everywhere.
struct Random(u64);

impl Random {
    /// Between -0.5 and 0.5.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

/// Rows of values that have gone wrong somewhere before: name and values.
fn rows() -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Random(7);
    let mut noise = |scale: f32| (0..ROW).map(|_| random.next() * scale).collect::<Vec<f32>>();
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
        ("zero", vec![0.0; ROW]),
        ("negative zero", vec![-0.0; ROW]),
        ("constant", vec![0.3; ROW]),
        ("ties", (0..ROW).map(|i| (i % 16) as f32 - 7.5).collect()),
        ("equal magnitudes", (0..ROW).map(|i| if i % 3 == 0 { -1.5 } else { 1.5 }).collect()),
        ("constant and negative", vec![-0.3; ROW]),
        ("ternary", (0..ROW).map(|i| [0.02, -0.02, 0.0][i * i % 3]).collect()),
        ("positive", noise(1.0).iter().map(|x| x.abs() + 1.0).collect()),
    ]
}

/// Weights of columns: alike, far apart, and none for some.
fn weights() -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Random(11);
    let mut noise = |scale: f32| (0..ROW).map(|_| (random.next() * scale).exp()).collect::<Vec<f32>>();
    let sparse = (0..ROW).map(|i| if i / 50 % 3 == 0 { 0.0 } else { (i % 7) as f32 }).collect();
    vec![("weights", noise(3.0)), ("weights far apart", noise(80.0)), ("weights of zero", sparse)]
}

fn try_encode(format: &Format, level: Level, row: &[f32], how: &Encoding<'_>) -> Result<Vec<u8>, BadValue> {
    let mut bytes = vec![0xaa; format.size_of(row.len() as u64).unwrap() as usize];
    format.encoder().unwrap()(level, row, how, &mut bytes)?;
    Ok(bytes)
}

fn encode(format: &Format, level: Level, row: &[f32], how: &Encoding<'_>) -> Vec<u8> {
    try_encode(format, level, row, how).unwrap()
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
    let mut rows = rows();
    rows.push(("too large", (0..ROW).map(|i| i as f32 * 1e33).collect()));
    let weights = weights();
    for format in written() {
        for (name, row) in &rows {
            for how in [FAST, BEST] {
                alike(format, row, &how, &format!("{name}, {:?}", how.effort));
                for (kind, columns) in &weights {
                    let importance = Some(Importance { columns, start: 0 });
                    alike(format, row, &Encoding { importance, ..how }, &format!("{name}, {:?}, {kind}", how.effort));
                }
            }
        }
    }
}

fn alike(format: &Format, row: &[f32], how: &Encoding<'_>, what: &str) {
    let wanted = try_encode(format, Level::SCALAR, row, how);
    for level in Level::available() {
        assert_eq!(try_encode(format, level, row, how), wanted, "{format:?} {} on {what}", level.name());
    }
}

#[test]
fn blocks_do_not_depend_on_what_stands_beside_them() {
    let (_, row) = &rows()[0];
    let (_, columns) = &weights()[0];
    for format in written() {
        for effort in [Effort::Fast, Effort::Best] {
            let how = |start| Encoding { importance: Some(Importance { columns, start }), effort, ..FAST };
            let whole = encode(format, Level::best(), row, &how(0));
            for (n, block) in row.chunks(256).enumerate() {
                let alone = encode(format, Level::best(), block, &how(n * 256));
                let bytes = format.size_of(256).unwrap() as usize;
                assert_eq!(alone, whole[n * bytes..][..bytes], "{format:?} {effort:?}, values from {}", n * 256);
            }
        }
    }
}

#[test]
fn no_value_is_further_off_than_the_format_states() {
    for format in written() {
        let worst = format.codec.unwrap().worst;
        for (name, row) in rows() {
            for how in [FAST, BEST] {
                let back = decode(format, Level::best(), &encode(format, Level::best(), &row, &how), row.len());
                for (x, y) in row.chunks(format.block).zip(back.chunks(format.block)) {
                    let bound = worst(x);
                    for (x, y) in x.iter().zip(y) {
                        assert!((x - y).abs() <= bound, "{format:?} on {name}: {x} became {y}, bound {bound}");
                    }
                }
            }
        }
    }
}

/// Relative error, of values and weights.
fn error(row: &[f32], back: &[f32], weights: &[f32]) -> f64 {
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        row.iter().zip(back).zip(weights).map(|((x, y), w)| f64::from(*w) * f(f64::from(*x), f64::from(*y))).sum()
    };
    (sum(&|x, y| (y - x) * (y - x)) / sum(&|x, _| x * x)).sqrt()
}

#[test]
fn effort_and_importance_lower_the_error_that_they_are_for() {
    let mut random = Random(5);
    let row = &(0..ROW).map(|_| (0..6).map(|_| random.next()).sum::<f32>() * 0.03).collect::<Vec<f32>>();
    let (_, columns) = &weights()[0];
    let even = vec![1.0; ROW];
    for format in written().filter(|f| f.class == Class::Block && f.name != "q8_0") {
        let found = |how: &Encoding<'_>| decode(format, Level::best(), &encode(format, Level::best(), row, how), ROW);
        let importance = Some(Importance { columns, start: 0 });
        let (fast, best) = (found(&FAST), found(&BEST));
        let (fast_weighed, best_weighed) =
            (found(&Encoding { importance, ..FAST }), found(&Encoding { importance, ..BEST }));
        assert!(error(row, &best, &even) < error(row, &fast, &even), "{format:?}");
        assert!(error(row, &best_weighed, columns) <= error(row, &fast_weighed, columns), "{format:?}");
        assert!(error(row, &best_weighed, columns) < error(row, &best, columns), "{format:?}");
    }
}

#[test]
fn a_vanishing_sub_block_or_weight_leaves_the_others_alone() {
    let mut row = rows()[0].1.clone();
    row[64..96].fill(1e-9);
    let mut columns = vec![1.0; ROW];
    columns[..ROW / 2].fill(0.0);
    for format in written().filter(|f| f.class == Class::Block && !f.name.starts_with('t')) {
        let how = Encoding { importance: Some(Importance { columns: &columns, start: 0 }), ..BEST };
        let back = decode(format, Level::best(), &encode(format, Level::best(), &row, &how), ROW);
        // Columns without weight are encoded all the same.
        assert!(error(&row, &back, &vec![1.0; ROW]) < 0.45, "{format:?}");
    }
}

/// Half of the values are zero, beside others of all sizes.
#[test]
fn zeros_stay_in_formats_that_hold_them() {
    for format in written() {
        let mut lost = 0;
        for (_, mut row) in rows().into_iter().filter(|(_, row)| row.iter().all(|v| v.is_finite())) {
            row.iter_mut().step_by(2).for_each(|v| *v = 0.0);
            let bytes = encode(format, Level::best(), &row, &Encoding::default());
            let back = decode(format, Level::best(), &bytes, row.len());
            lost += row.iter().zip(back).filter(|(v, back)| **v == 0.0 && *back != 0.0).count();
        }
        let holds = format.codec.is_some_and(|codec| codec.holds_zero);
        assert_eq!(lost == 0, holds, "{}: {lost} lost", format.name);
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
                for how in [FAST, BEST] {
                    non_finite(format, level, bad, &how);
                }
            }
        }
    }
}

fn non_finite(format: &Format, level: Level, bad: f32, how: &Encoding<'_>) {
    let mut row = vec![0.25; ROW];
    row[197] = bad;
    let found = |result| match result {
        Err(BadValue::NonFinite { index: 197, value }) => assert_eq!(value.to_bits(), bad.to_bits()),
        other => panic!("{format:?} {}: {other:?}", level.name()),
    };
    found(try_encode(format, level, &row, how));
    let keep = Encoding { non_finite: NonFinite::Keep, ..*how };
    if ["mxfp4", "nvfp4"].contains(&format.name) {
        // These have no way to say NaN.
        return found(try_encode(format, level, &row, &keep));
    }
    let back = decode(format, level, &encode(format, level, &row, &keep), ROW);
    assert!(!back[197].is_finite(), "{format:?} kept {} as {}", bad, back[197]);
    let spread = if format.class == Class::Block { format.block } else { 1 };
    let finite = back.iter().filter(|v| v.is_finite()).count();
    assert_eq!(finite, ROW - spread, "{format:?}");
}

#[test]
fn what_the_format_cannot_hold_is_an_error() {
    // f32, bf16 and the powers of two of mxfp4 reach as far as the values do.
    for format in written().filter(|f| !["f32", "bf16", "mxfp4"].contains(&f.name)) {
        let mut row = vec![0.0; ROW];
        row[296] = 3e9;
        for level in Level::available() {
            for how in [FAST, BEST] {
                let at = 296 / format.block * format.block;
                match try_encode(format, level, &row, &how) {
                    Err(BadValue::Overflow { index, .. }) => assert_eq!(index, at, "{format:?}"),
                    other => panic!("{format:?} {}: {other:?}", level.name()),
                }
            }
        }
    }
}

#[test]
fn no_values_are_no_bytes() {
    for format in written() {
        assert_eq!(encode(format, Level::best(), &[], &BEST), []);
    }
}
