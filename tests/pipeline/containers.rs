//! Every container to every other, and back.

use crate::support::gguf::Gguf;
use crate::support::safetensors::{self, Tensor};
use crate::support::{at, copy_folder, empty, fixture, names, tersor_in};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const MODELS: [&str; 2] = ["tiny-llama", "tiny-spm"];

#[test]
fn a_folder_through_gguf_and_back_is_the_same_model() {
    for model in MODELS {
        let folder = empty();
        tersor_in(&folder, &["convert", &fixture(model), "-qo", "a.gguf"]).exits(0);
        tersor_in(&folder, &["convert", "a.gguf", "-qo", "back"]).exits(0);
        tersor_in(&folder, &["convert", "back", "-qo", "b.gguf"]).exits(0);
        let (a, b) = (Gguf::read(at(&folder, "a.gguf")), Gguf::read(at(&folder, "b.gguf")));
        assert!(a.tensors == b.tensors, "{model}");
        assert_eq!(a.keys(&["tokenizer.", "llama."]), b.keys(&["tokenizer.", "llama."]), "{model}");
        // Norms are f32 in GGUF; matrices have the bytes that they had.
        let original = safetensors::read(format!("{}/model.safetensors", fixture(model)));
        let back = safetensors::read(folder.path().join("back/model.safetensors"));
        assert_eq!(original.len(), back.len());
        for (before, after) in original.iter().zip(&back) {
            assert_eq!((&before.name, &before.shape), (&after.name, &after.shape));
            assert!(before.bytes == after.bytes || before.shape.len() == 1, "{}", before.name);
        }
    }
}

#[test]
fn each_container_becomes_each() {
    for model in MODELS {
        let folder = empty();
        let convert = |from: &str, to: &str, into: &str| {
            tersor_in(&folder, &["convert", from, "--to", to, "-qo", into]).exits(0);
        };
        convert(&fixture(model), "gguf", "a.gguf");
        convert("a.gguf", "gguf", "b.gguf");
        convert(&fixture(model), "safetensors", "a");
        convert("a", "safetensors", "b");
        convert("b.gguf", "safetensors", "c");
        convert("b", "gguf", "c.gguf");
        let a = Gguf::read(at(&folder, "a.gguf"));
        for other in ["b.gguf", "c.gguf"] {
            let other = Gguf::read(at(&folder, other));
            assert!(other.tensors == a.tensors, "{model}");
            assert_eq!(other.keys(&["tokenizer.", "llama."]), a.keys(&["tokenizer.", "llama."]));
        }
        let original = safetensors::read(format!("{}/model.safetensors", fixture(model)));
        for other in ["a", "b"] {
            assert!(
                safetensors::read(folder.path().join(other).join("model.safetensors")) == original,
                "{model} {other}"
            );
            tersor_in(&folder, &["verify", other, "--base", &fixture(model)]).exits(0);
        }
        tersor_in(&folder, &["verify", "c", "--base", "b.gguf"]).exits(0);
        tersor_in(&folder, &["verify", "b.gguf", "--base", "a.gguf"]).exits(0);
    }
}

#[test]
fn a_float_format_reaches_every_matrix() {
    for (dtype, stored) in [("f32", "F32"), ("f16", "F16"), ("bf16", "BF16")] {
        let folder = empty();
        let model = fixture("tiny-spm");
        tersor_in(&folder, &["convert", &model, "--to", "safetensors", "--dtype", dtype, "-qo", "hf"]).exits(0);
        let tensors = safetensors::read(folder.path().join("hf/model.safetensors"));
        assert!(tensors.iter().all(|t| t.dtype == stored), "{dtype}");
        let config = fs::read_to_string(folder.path().join("hf/config.json")).unwrap();
        let name = BTreeMap::from([("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16")])[dtype];
        assert!(config.contains(&format!("\"torch_dtype\": \"{name}\"")), "{config}");
    }
}

/// Split, read the parts as one, write as one.
#[test]
fn a_split_holds_what_the_single_file_holds() {
    let folder = empty();
    let model = fixture("tiny-llama");
    tersor_in(&folder, &["quantize", &model, "-t", "q8_0", "-qo", "one.gguf"]).exits(0);
    tersor_in(&folder, &["quantize", &model, "-t", "q8_0", "-qo", "cut.gguf", "--split-max-size", "1M"]).exits(0);
    let parts: Vec<String> = names(folder.path()).into_iter().filter(|n| n.starts_with("cut")).collect();
    assert!(parts.len() > 3, "{parts:?}");
    let one = Gguf::read(at(&folder, "one.gguf"));
    let mut together = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        assert_eq!(*part, format!("cut-{:05}-of-{:05}.gguf", n + 1, parts.len()));
        assert!(fs::metadata(at(&folder, part)).unwrap().len() <= 1_000_000);
        let part = Gguf::read(at(&folder, part));
        assert_eq!(part.metadata.count("split.no"), Some(n as u64));
        assert_eq!(part.metadata.count("split.count"), Some(parts.len() as u64));
        assert_eq!(part.metadata.count("split.tensors.count"), Some(one.tensors.len() as u64));
        together.extend(part.tensors);
    }
    assert!(together == one.tensors);
    // Any part names the whole.
    for (n, part) in parts.iter().enumerate() {
        tersor_in(&folder, &["verify", part, "--base", &model]).exits(0);
        tersor_in(&folder, &["convert", part, "--to", "gguf", "-qo", &format!("joined{n}.gguf")]).exits(0);
        let joined = Gguf::read(at(&folder, &format!("joined{n}.gguf")));
        assert!(joined.tensors == one.tensors);
        assert_eq!(joined.keys(&["split."]), []);
        assert_eq!(joined.keys(&["tokenizer.", "llama."]), one.keys(&["tokenizer.", "llama."]));
    }
}

#[test]
fn shards_hold_what_the_single_file_holds() {
    let folder = empty();
    let model = fixture("tiny-llama");
    let args = ["convert", &model, "--to", "safetensors", "--split-max-size", "2M", "-qo", "shards"];
    tersor_in(&folder, &args).exits(0);
    let shards: Vec<String> = names(&folder.path().join("shards"));
    let shards: Vec<&String> = shards.iter().filter(|n| n.ends_with(".safetensors")).collect();
    assert!(shards.len() > 2, "{shards:?}");
    let mut together: Vec<Tensor> =
        shards.iter().flat_map(|name| safetensors::read(folder.path().join("shards").join(name))).collect();
    together.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(together == safetensors::read(format!("{model}/model.safetensors")));
    tersor_in(&folder, &["quantize", "shards", "-qo", "a.gguf"]).exits(0);
    tersor_in(&folder, &["quantize", &model, "-qo", "b.gguf"]).exits(0);
    assert!(Gguf::read(at(&folder, "a.gguf")).tensors == Gguf::read(at(&folder, "b.gguf")).tensors);
}

/// Shards made by someone else, in an order of their own.
#[test]
fn a_sharded_checkpoint_gives_the_file_of_the_whole_one() {
    let folder = empty();
    let model = folder.path().join("tiny-llama");
    copy_folder(&fixture("tiny-llama"), &model);
    tersor_in(&folder, &["quantize", "tiny-llama", "-qo", "whole.gguf"]).exits(0);
    shard(&model, 3);
    tersor_in(&folder, &["quantize", "tiny-llama", "-qo", "shards.gguf"]).exits(0);
    assert!(fs::read(at(&folder, "whole.gguf")).unwrap() == fs::read(at(&folder, "shards.gguf")).unwrap());
}

/// Deal the tensors of a folder out to `count` files.
fn shard(model: &Path, count: usize) {
    let tensors = safetensors::read(model.join("model.safetensors"));
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    for n in 0..count {
        let name = format!("model-{:05}-of-{count:05}.safetensors", n + 1);
        let own: Vec<Tensor> = tensors.iter().skip(n).step_by(count).rev().cloned().collect();
        safetensors::write(model.join(&name), &own);
        map.extend(own.into_iter().map(|t| (t.name, name.clone().into())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
}
