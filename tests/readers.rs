//! What tersor writes, read by other Rust crates: candle-core, gguf-rs and safetensors.

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value as CandleValue};
use safetensors::SafeTensors;
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tersor::gguf::{Array, Metadata, Value};
use tersor::source::{Origin, Source};
use tersor::tensor::TensorId;
use tersor_kernels::Level;

const FILE_TYPES: [&str; 12] =
    ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m"];
const MODELS: [&str; 2] = ["tiny-llama", "tiny-spm"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn tersor(args: &[&str], model: &Path, out: &Path) {
    let mut call = Command::new(env!("CARGO_BIN_EXE_tersor"));
    call.env("TERSOR_DEVICE", "cpu");
    call.args(args).arg(model).arg("--quiet").arg("--output").arg(out);
    let output = call.output().expect("tersor starts");
    assert!(output.status.success(), "{call:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// One file per model and file type.
fn files(dir: &TempDir) -> Vec<(PathBuf, &'static str)> {
    let mut all = Vec::new();
    for model in MODELS {
        for file_type in FILE_TYPES {
            let out = dir.path().join(format!("{model}-{file_type}.gguf"));
            tersor(&["quantize", "--type", file_type], &fixture(model), &out);
            all.push((out, file_type));
        }
    }
    all
}

fn metadata(source: &Source) -> &Metadata {
    match &source.origin {
        Origin::Gguf { metadata } => metadata,
        other => panic!("{other:?}"),
    }
}

fn bytes(source: &Source, id: usize) -> Vec<u8> {
    let mut data = vec![0; source.tensors()[id].bytes as usize];
    source.read(TensorId(id), 0, &mut data).expect("a tensor of a file just written");
    data
}

fn decoded(source: &Source, id: usize) -> Vec<f32> {
    let tensor = &source.tensors()[id];
    // Poisoned, so that a value that the decoder leaves out is noticed.
    let mut values = vec![f32::NAN; tensor.shape.values() as usize];
    tensor.format.decoder().expect("a written format has a decoder")(Level::SCALAR, &bytes(source, id), &mut values);
    values
}

fn candle(value: &Value) -> String {
    let array = |items: Vec<CandleValue>| format!("{:?}", CandleValue::Array(items));
    match value.clone() {
        Value::U8(v) => format!("{:?}", CandleValue::U8(v)),
        Value::I8(v) => format!("{:?}", CandleValue::I8(v)),
        Value::U16(v) => format!("{:?}", CandleValue::U16(v)),
        Value::I16(v) => format!("{:?}", CandleValue::I16(v)),
        Value::U32(v) => format!("{:?}", CandleValue::U32(v)),
        Value::I32(v) => format!("{:?}", CandleValue::I32(v)),
        Value::U64(v) => format!("{:?}", CandleValue::U64(v)),
        Value::I64(v) => format!("{:?}", CandleValue::I64(v)),
        Value::F32(v) => format!("{:?}", CandleValue::F32(v)),
        Value::F64(v) => format!("{:?}", CandleValue::F64(v)),
        Value::Bool(v) => format!("{:?}", CandleValue::Bool(v)),
        Value::String(v) => format!("{:?}", CandleValue::String(v)),
        Value::Array(Array::String(v)) => array(v.iter().map(|s| CandleValue::String(s.to_owned())).collect()),
        Value::Array(Array::I32(v)) => array(v.into_iter().map(CandleValue::I32).collect()),
        Value::Array(Array::F32(v)) => array(v.into_iter().map(CandleValue::F32).collect()),
        other => panic!("the fixtures have no {other}"),
    }
}

/// Dequantizing is the same multiplication and addition in the same order, so the values are equal bit for bit.
#[test]
fn candle_reads_keys_and_values() {
    let dir = TempDir::new().unwrap();
    for (path, file_type) in files(&dir) {
        let (source, mut file) = (Source::open(&path).unwrap(), File::open(&path).unwrap());
        let content = Content::read(&mut file).unwrap();
        assert_eq!(content.metadata.len(), metadata(&source).len());
        for (key, value) in metadata(&source).iter() {
            assert_eq!(format!("{:?}", content.metadata[key]), candle(value), "{file_type}: {key}");
        }
        assert_eq!(content.tensor_infos.len(), source.tensors().len());
        for (id, tensor) in source.tensors().iter().enumerate() {
            let read = content.tensor(&mut file, &tensor.name, &Device::Cpu).unwrap();
            assert_eq!(format!("{:?}", read.dtype()).to_lowercase(), tensor.format.name.replace("_k", "k"));
            let dims: Vec<u64> = read.shape().dims().iter().map(|d| *d as u64).collect();
            assert_eq!(dims, tensor.shape.dims(), "{}", tensor.name);
            let values = read.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let same = values.iter().zip(decoded(&source, id)).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && values.len() as u64 == tensor.shape.values(), "{file_type}: {}", tensor.name);
        }
    }
}

fn as_json(value: &Value) -> serde_json::Value {
    match value.clone() {
        Value::U32(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Array(Array::String(v)) => json!(v),
        Value::Array(Array::I32(v)) => json!(v),
        Value::Array(Array::F32(v)) => json!(v),
        other => panic!("the fixtures have no {other}"),
    }
}

/// gguf-rs counts a BF16 tensor as blocks of 256, so sizes of that type are not compared.
#[test]
fn gguf_rs_reads_keys_and_the_tensor_table() {
    let dir = TempDir::new().unwrap();
    for (path, file_type) in files(&dir) {
        let source = Source::open(&path).unwrap();
        let raw = std::fs::read(&path).unwrap();
        let mut container = gguf_rs::get_gguf_container_array_size(path.to_str().unwrap(), u64::MAX).unwrap();
        let model = container.decode().unwrap();
        assert_eq!(model.get_version(), "v3");
        assert_eq!(model.metadata().len(), metadata(&source).len());
        for (key, value) in metadata(&source).iter() {
            assert_eq!(model.metadata()[key], as_json(value), "{file_type}: {key}");
        }
        assert_eq!(model.tensors().len(), source.tensors().len());
        for (id, (theirs, ours)) in model.tensors().iter().zip(source.tensors()).enumerate() {
            let fastest_first: Vec<u64> = ours.shape.dims().iter().rev().copied().collect();
            assert_eq!((&theirs.name, &theirs.shape), (&ours.name, &fastest_first));
            assert_eq!(Some(theirs.kind), ours.format.ggml, "{}", ours.name);
            if ours.format.name != "bf16" {
                assert_eq!(theirs.size, ours.bytes, "{file_type}: {}", ours.name);
            }
            let start = (model.data_offset() + theirs.offset) as usize;
            let end = start + ours.bytes as usize;
            assert!(raw[start..end] == bytes(&source, id), "{file_type}: {}", ours.name);
        }
    }
}

/// The files of a folder, or of a folder in several parts.
fn parts(folder: &Path) -> Vec<Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    paths.sort();
    paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// What `folder` holds is what `wanted` holds: names, types, shapes and bytes.
fn same_tensors(folder: &Path, wanted: &Path) -> usize {
    let (found, wanted) = (parts(folder), parts(wanted));
    let read = |files: &[Vec<u8>]| {
        let mut all = Vec::new();
        for file in files {
            for (name, view) in SafeTensors::deserialize(file).unwrap().tensors() {
                all.push((name, view.dtype(), view.shape().to_vec(), view.data().to_vec()));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let (found_tensors, wanted_tensors) = (read(&found), read(&wanted));
    assert_eq!(found_tensors.len(), wanted_tensors.len());
    for (a, b) in found_tensors.iter().zip(&wanted_tensors) {
        assert_eq!((&a.0, a.1, &a.2), (&b.0, b.1, &b.2));
        assert!(a.3 == b.3, "{}", a.0);
    }
    found.len()
}

/// Norms become F32 in GGUF, so a BF16 folder comes back equal only when asked to be BF16.
#[test]
fn safetensors_reads_folders_that_come_back_as_they_were() {
    let dir = TempDir::new().unwrap();
    for model in MODELS {
        let original = fixture(model);
        let [gguf, folder, split] = ["x.gguf", "hf", "split"].map(|n| dir.path().join(format!("{model}-{n}")));
        tersor(&["quantize", "--type", "bf16"], &original, &gguf);
        let convert = ["convert", "--to", "safetensors", "--dtype", "bf16"];
        tersor(&convert, &gguf, &folder);
        assert_eq!(same_tensors(&folder, &original), 1);
        let half = (std::fs::metadata(&gguf).unwrap().len() / 2).to_string();
        tersor(&[&convert[..], &["--split-max-size", &half]].concat(), &gguf, &split);
        assert!(same_tensors(&split, &original) > 1);
    }
}

#[test]
fn safetensors_reads_the_decoded_values_of_quantized_files() {
    let dir = TempDir::new().unwrap();
    for (path, file_type) in files(&dir) {
        let source = Source::open(&path).unwrap();
        let folder = path.with_extension("folder");
        tersor(&["convert", "--to", "safetensors", "--dtype", "f32"], &path, &folder);
        let [file] = <[Vec<u8>; 1]>::try_from(parts(&folder)).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(tensors.len(), source.tensors().len());
        let embedding = source.find("token_embd.weight").unwrap().0;
        let values: Vec<u8> = decoded(&source, embedding).iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = tensors.tensor("model.embed_tokens.weight").unwrap();
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        assert!(view.data() == values, "{file_type}");
    }
}
