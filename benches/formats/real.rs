//! The error on real matrices against ggml's.

use crate::data::{self, encode, error};
use crate::peer::Ggml;
use crate::support::Random;
use crate::{MODES, Mode};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use tersor_kernels::{Class, Effort, Format, Level};

struct Matrix {
    name: String,
    values: Vec<f32>,
    columns: usize,
}

/// Ratios of one format in one mode: the sum of them, how many, and where ours is larger.
struct Ratios {
    format: &'static Format,
    mode: Mode,
    sum: f64,
    count: usize,
    largest: f64,
    larger: Vec<(String, f64)>,
}

/// Rounding of products and sums that ggml's compiler fuses and tersor does not.
const EQUAL: f64 = 1e-6;

pub fn compare(formats: &[&'static Format], mut ggml: Ggml) {
    let formats: Vec<_> =
        formats.iter().filter(|f| f.class == Class::Block && f.encoder().is_some() && f.ggml.is_some()).collect();
    let mut ratios = Vec::new();
    for format in &formats {
        ratios.extend(MODES.map(|mode| Ratios { format, mode, sum: 0.0, count: 0, largest: 0.0, larger: vec![] }));
    }
    for model in models() {
        for (n, matrix) in matrices(&model).iter().enumerate() {
            let importance = data::importance(&mut Random(n as u64), matrix.columns);
            ggml.load(&matrix.values, &importance);
            for ratios in ratios.chunks_exact_mut(MODES.len()) {
                if matrix.columns.is_multiple_of(ratios[0].format.block) {
                    one(matrix, &importance, &mut ggml, ratios);
                }
            }
        }
    }
    println!("error over ggml's; larger: by more than {EQUAL:e} of it");
    println!("format   what             tensors    mean   largest  larger");
    for r in &ratios {
        let ((weighed, effort), count) = (r.mode.names(), r.count);
        let mean = r.sum / count as f64;
        println!(
            "{:8} {weighed:10} {effort:4} {count:8} {mean:8.5} {:8.5} {:6}",
            r.format.name,
            r.largest,
            r.larger.len()
        );
    }
    for r in &ratios {
        for (tensor, ratio) in &r.larger {
            let (weighed, effort) = r.mode.names();
            println!("larger: {} {weighed} {effort} {tensor} {ratio:.7}", r.format.name);
        }
    }
}

fn one(matrix: &Matrix, importance: &[f32], ggml: &mut Ggml, ratios: &mut [Ratios]) {
    let mut theirs = 0.0;
    for r in ratios {
        let weights = r.mode.weighed.then_some(importance);
        if r.mode.effort == Effort::Fast {
            ggml.encode(r.format.ggml.unwrap_or(0), matrix.values.len() / matrix.columns, r.mode.weighed);
            theirs = error(r.format, &ggml.bytes(), &matrix.values, weights);
        }
        let bytes = encode(r.format, &matrix.values, &r.mode.encoding(importance));
        let ours = error(r.format, &bytes, &matrix.values, weights);
        let ratio = if ours == theirs { 1.0 } else { ours / theirs };
        r.sum += ratio;
        r.count += 1;
        r.largest = r.largest.max(ratio);
        if ratio > 1.0 + EQUAL {
            r.larger.push((matrix.name.clone(), ratio));
        }
    }
}

fn models() -> Vec<PathBuf> {
    let mut models = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama")];
    match std::env::var_os("TERSOR_MODELS") {
        Some(folder) => models.push(PathBuf::from(folder).join("smollm2-135m")),
        None => println!("without SmolLM2-135M: set TERSOR_MODELS"),
    }
    models
}

/// The matrices of a model of one safetensors file.
fn matrices(model: &Path) -> Vec<Matrix> {
    let bytes = std::fs::read(model.join("model.safetensors")).expect("the model's weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut matrices = Vec::new();
    for (name, tensor) in tensors.iter().filter(|(_, t)| t.shape().len() == 2) {
        let stored = Format::by_safetensors(&tensor.dtype().to_string()).expect("a dtype of weights");
        let mut values = vec![0.0; tensor.shape().iter().product()];
        stored.decoder().expect("a decoder")(Level::best(), tensor.data(), &mut values);
        let folder = model.file_name().unwrap_or_default().to_string_lossy();
        matrices.push(Matrix { name: format!("{folder} {name}"), values, columns: tensor.shape()[1] });
    }
    matrices.sort_by(|a, b| a.name.cmp(&b.name));
    matrices
}
