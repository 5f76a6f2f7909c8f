//! Checkpoints out of the ordinary: families without a row, old files, types that cannot be written, float8.

use crate::support::gguf::{Gguf, Tensor as GgufTensor};
use crate::support::safetensors::{self, Tensor};
use crate::support::{Noise, at, copy_folder, edit_json, empty, fixture, tersor_in};
use serde_json::json;

#[test]
fn a_family_without_a_row_keeps_its_keys_and_vectors() {
    let folder = empty();
    let source = fixture("golden/unknown-family.gguf");
    tersor_in(&folder, &["quantize", &source, "-t", "q5_0", "-qo", "out.gguf"]).exits(0);
    let (before, after) = (Gguf::read(&source), Gguf::read(at(&folder, "out.gguf")));
    let changed = ["general.file_type", "general.quantization_version"];
    for (key, value) in before.metadata.iter().filter(|(key, _)| !changed.contains(key)) {
        assert_eq!(after.metadata.get(key), Some(value), "{key}");
    }
    assert_eq!(after.metadata.count("general.file_type"), Some(8));
    assert_eq!(before.tensors.len(), after.tensors.len());
    for (a, b) in before.tensors.iter().zip(&after.tensors) {
        assert_eq!((&a.name, &a.dims), (&b.name, &b.dims));
        match (a.dims.len(), a.name.as_str()) {
            (1, _) => assert!(a == b, "{}", a.name),
            (_, "output.weight") => assert_eq!(b.format, "q8_0"),
            (_, name) => assert!(b.format == "q5_0", "{name} is {}", b.format),
        }
    }
    tersor_in(&folder, &["verify", "out.gguf", "--base", &source]).exits(0);
}

#[test]
fn the_split_of_a_foreign_writer_is_the_single_file() {
    let folder = empty();
    tersor_in(&folder, &["convert", &fixture("golden/unknown-family.gguf"), "--to", "gguf", "-qo", "a.gguf"]).exits(0);
    let part = fixture("golden/split-00002-of-00003.gguf");
    tersor_in(&folder, &["convert", &part, "--to", "gguf", "-qo", "b.gguf"]).exits(0);
    let (a, b) = (Gguf::read(at(&folder, "a.gguf")), Gguf::read(at(&folder, "b.gguf")));
    assert!(a.sorted() == b.sorted());
    assert_eq!(a.keys(&["tokenizer.", "starcoder2."]), b.keys(&["tokenizer.", "starcoder2."]));
}

#[test]
fn version_two_becomes_version_three() {
    let folder = empty();
    let source = fixture("golden/v2.gguf");
    tersor_in(&folder, &["convert", &source, "--to", "gguf", "-qo", "out.gguf"]).exits(0);
    assert!(Gguf::read(at(&folder, "out.gguf")).tensors == Gguf::read(&source).tensors);
    assert_eq!(std::fs::read(at(&folder, "out.gguf")).unwrap()[4..8], [3, 0, 0, 0]);
}

/// Types that are only read, and integers, have no encoder here; as long as they stay what they are, they are carried over.
#[test]
fn what_cannot_be_encoded_is_carried_over() {
    let folder = empty();
    let source = fixture("golden/mixed-types.gguf");
    tersor_in(&folder, &["convert", &source, "--to", "gguf", "-qo", "out.gguf"]).exits(0);
    assert!(Gguf::read(at(&folder, "out.gguf")).tensors == Gguf::read(&source).tensors);
    tersor_in(&folder, &["verify", "out.gguf", "--base", &source]).exits(0);
}

#[test]
fn weights_below_eight_bits_are_quantized_again_only_on_request() {
    let folder = empty();
    let source = fixture("golden/mixed-types.gguf");
    let again = |args: &[&str]| tersor_in(&folder, &[&["quantize", &source, "-qo", "out.gguf"], args].concat());
    again(&["-t", "q4_0"]).fails(1, "tensor `q4_1.weight` is already q4_1; quantizing it again to q4_0 loses more");
    again(&["-t", "q4_0", "--allow-requantize"]).exits(0);
    let out = Gguf::read(at(&folder, "out.gguf"));
    let formats = out.formats();
    for became in [("q5_1.weight", "q4_0"), ("q4_k.weight", "q4_0"), ("i8.data", "i8")] {
        assert!(formats.contains(&became), "{formats:?}");
    }
    // To a float nothing more is lost.
    again(&["-t", "f16", "--force"]).exits(0);
}

#[test]
fn what_cannot_be_decoded_is_not_quantized() {
    let folder = empty();
    let mut source = Gguf::read(fixture("golden/mixed-types.gguf"));
    source.metadata.set("general.alignment", 32u32);
    let t = source.tensor("q4_k.weight");
    t.format = "iq1_m";
    let blocks = t.bytes.len() / 144;
    t.bytes.truncate(blocks * 56);
    source.write(at(&folder, "source.gguf"));
    let quantize = ["quantize", "source.gguf", "-qo", "out.gguf", "-t", "q4_0", "--allow-requantize"];
    tersor_in(&folder, &quantize).fails(1, "`q4_k.weight`: iq1_m has no decoder in tersor");
    tersor_in(&folder, &["convert", "source.gguf", "--to", "gguf", "-qo", "out.gguf"]).exits(0);
    assert!(Gguf::read(at(&folder, "out.gguf")).tensors == source.tensors);
    tersor_in(&folder, &["verify", "out.gguf", "--base", "source.gguf"]).exits(0);
}

const BLOCK: usize = 128;

/// E4M3: a sign, four bits of exponent with bias 7, three of mantissa; no infinity.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size =
        if exponent == 0 { mantissa / 8.0 * 2f32.powi(-6) } else { (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7) };
    if byte & 0x80 == 0 { size } else { -size }
}

/// A matrix of float8 with one scale for 128 x 128 values, and what it stands for.
fn float8(t: &Tensor, noise: &mut Noise) -> (Tensor, Tensor, Tensor) {
    let (rows, cols) = (t.shape[0] as usize, t.shape[1] as usize);
    // All but the two patterns that are NaN.
    let bytes: Vec<u8> =
        (0..rows * cols).map(|_| (noise.next() >> 16) as u8).map(|b| b & !u8::from(b & 127 == 127)).collect();
    let grid = (rows.div_ceil(BLOCK), cols.div_ceil(BLOCK));
    let scales: Vec<f32> = (0..grid.0 * grid.1).map(|_| 1e-4 * (1 + noise.below(900)) as f32).collect();
    let scale = |i: usize| scales[i / cols / BLOCK * grid.1 + i % cols / BLOCK];
    let values = bytes.iter().enumerate().flat_map(|(i, b)| (e4m3(*b) * scale(i)).to_le_bytes()).collect();
    let (name, shape) = (t.name.clone(), t.shape.clone());
    let plain = Tensor { name: name.clone(), dtype: "F32".into(), shape: shape.clone(), bytes: values };
    let scales = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
    let scales = Tensor {
        name: format!("{name}_scale_inv"),
        dtype: "F32".into(),
        shape: vec![grid.0 as u64, grid.1 as u64],
        bytes: scales,
    };
    (Tensor { name, dtype: "F8_E4M3".into(), shape, bytes }, scales, plain)
}

#[test]
fn block_scaled_float8_is_the_checkpoint_of_its_values() {
    let folder = empty();
    let (eight, plain) = (folder.path().join("eight"), folder.path().join("plain"));
    copy_folder(&fixture("tiny-llama"), &eight);
    copy_folder(&fixture("tiny-llama"), &plain);
    let mut noise = Noise(88);
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    for t in safetensors::read(plain.join("model.safetensors")) {
        if t.name.ends_with("_proj.weight") {
            let (values, scales, floats) = float8(&t, &mut noise);
            packed.extend([values, scales]);
            unpacked.push(floats);
        } else {
            packed.push(t.clone());
            unpacked.push(t);
        }
    }
    safetensors::write(eight.join("model.safetensors"), &packed);
    safetensors::write(plain.join("model.safetensors"), &unpacked);
    edit_json(&eight.join("config.json"), |c| {
        c.insert("quantization_config".into(), json!({ "quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK] }));
    });
    for kind in ["f32", "q8_0", "q4_0"] {
        for model in ["eight", "plain"] {
            tersor_in(&folder, &["quantize", model, "-t", kind, "-qo", &format!("{model}-{kind}.gguf")]).exits(0);
        }
        let read = |model: &str| Gguf::read(at(&folder, &format!("{model}-{kind}.gguf"))).tensors;
        let (a, b): (Vec<GgufTensor>, Vec<GgufTensor>) = (read("eight"), read("plain"));
        let differing: Vec<&str> = a.iter().zip(&b).filter(|(a, b)| a != b).map(|(a, _)| a.name.as_str()).collect();
        assert!(a.len() == b.len() && differing.is_empty(), "{kind}: {differing:?}");
        tersor_in(&folder, &["verify", &format!("eight-{kind}.gguf"), "--base", "eight"]).exits(0);
    }
}

#[test]
fn float8_without_its_scales_is_refused() {
    let folder = empty();
    let model = folder.path().join("m");
    copy_folder(&fixture("tiny-spm"), &model);
    let mut tensors = safetensors::read(model.join("model.safetensors"));
    let n = tensors.iter().position(|t| t.name.ends_with("layers.0.mlp.up_proj.weight")).unwrap();
    tensors[n] = float8(&tensors[n], &mut Noise(3)).0;
    safetensors::write(model.join("model.safetensors"), &tensors);
    let message =
        "`model.layers.0.mlp.up_proj.weight`: found float8 values, wanted their scales in `model.layers.0.mlp.up_proj";
    tersor_in(&folder, &["quantize", "m", "-q"]).fails(1, message);
}
