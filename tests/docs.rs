//! Pages under docs/ that are made from tables, and the tables that are made from fixtures, are not stale.
#![allow(missing_docs)]

use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use tersor::report::{Measured, formats_page};
use tersor_kernels::{Effort, Encoding, FORMATS, Fit, Format, Level};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_default()
}

/// The matrices of fixtures/tiny-llama, all of whose rows divide into every format's blocks.
fn matrices() -> Vec<Vec<f32>> {
    let bytes = fs::read(path("fixtures/tiny-llama/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bf16 = Format::by_name("bf16").unwrap();
    let values = |(_, data): (usize, &[u8])| {
        let mut values = vec![f32::NAN; data.len() / bf16.bytes];
        bf16.decoder().unwrap()(Level::best(), data, &mut values);
        values
    };
    tensors.iter().map(|(_, t)| (t.shape().len(), t.data())).filter(|(dims, _)| *dims == 2).map(values).collect()
}

/// Relative RMSE of all matrices together.
fn error(format: &Format, effort: Effort, matrices: &[Vec<f32>]) -> f64 {
    let how = Encoding { effort, ..Encoding::default() };
    let mut fit = Fit::default();
    for values in matrices {
        let mut bytes = vec![0; format.size_of(values.len() as u64).unwrap() as usize];
        fit += format.encoder().unwrap()(Level::best(), values, &how, &mut bytes).unwrap();
    }
    fit.relative_rmse()
}

/// Four digits that count.
fn digits(x: f64) -> String {
    if x > 0.0 && x < 1e-4 {
        return format!("{x:.3e}");
    }
    let decimals = if x == 0.0 { 0 } else { (3.0 - x.log10().floor()) as usize };
    format!("{x:.decimals$}")
}

fn errors() -> String {
    let matrices = matrices();
    assert_eq!(matrices.len(), 29, "tiny-llama's matrices");
    let mut table = String::from("# format, relative RMSE over all matrices of fixtures/tiny-llama: fast, best\n");
    for format in FORMATS.iter().filter(|f| f.encoder().is_some()) {
        let [fast, best] = [Effort::Fast, Effort::Best].map(|effort| digits(error(format, effort, &matrices)));
        table += &format!("{}\t{fast}\t{best}\n", format.name);
    }
    table
}

/// Fails when `name` is not `wanted`, or makes it so.
fn check(name: &str, wanted: &str) {
    if std::env::var_os("TERSOR_UPDATE").is_some() {
        fs::write(path(name), wanted).unwrap();
    }
    assert!(read(name) == wanted, "{name} is stale: run `TERSOR_UPDATE=1 cargo test --test docs`");
}

#[test]
fn errors_and_the_page_of_formats_are_what_the_tables_say() {
    let errors = errors();
    check("docs/errors.tsv", &errors);
    let measured = Measured { errors: &errors, speeds: &read("benches/formats.tsv") };
    check("docs/formats.md", &formats_page(&measured));
}
