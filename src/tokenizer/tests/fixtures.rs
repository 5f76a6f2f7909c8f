//! Tokenizers that were really trained, and files that llama.cpp's own converter made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::assert_round_trip;
use crate::gguf::read_header;
use crate::tokenizer::{Options, PROBES, Tokenizer, first_difference, from_folder, rebuild, reference};
use crate::{Error, Result};

/// The folder, unless it is not there.
fn fixture(name: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    if !dir.is_dir() {
        announce(&format!("skipped: fixtures/{name} is not there"));
    }
    dir.is_dir().then_some(dir)
}

#[allow(clippy::print_stderr)]
fn announce(text: &str) {
    eprintln!("{text}");
}

fn load(dir: &Path, rows: u64) -> Result<Tokenizer> {
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    from_folder(dir, &config, rows, &Options::default())
}

fn vocab_size(dir: &Path) -> u64 {
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    config["vocab_size"].as_u64().unwrap()
}

/// Probes, then every special token between words.
fn texts(specials: &[String]) -> Vec<String> {
    let embedded = specials.iter().flat_map(|token| [token.clone(), format!("one {token}two {token} {token}\n3")]);
    PROBES.iter().map(|probe| probe.to_string()).chain(embedded).collect()
}

fn assert_rebuilt_agrees(dir: &Path, tokenizer: &Tokenizer) {
    let keys = tokenizer.metadata();
    let left = rebuild(Path::new("x.gguf"), &keys).unwrap();
    let right = reference(dir).unwrap().unwrap();
    let texts = texts(&left.special_tokens());
    assert_eq!(first_difference(&left, &right, texts.iter().map(String::as_str)).unwrap(), None);
}

#[test]
fn tiny_llama() {
    let Some(dir) = fixture("tiny-llama") else { return };
    let tokenizer = load(&dir, vocab_size(&dir)).unwrap();
    assert_eq!(tokenizer.pre, "gpt-2");
    assert_rebuilt_agrees(&dir, &tokenizer);
    assert_round_trip(&tokenizer);
}

#[test]
fn tiny_spm() {
    let Some(dir) = fixture("tiny-spm") else { return };
    let tokenizer = load(&dir, vocab_size(&dir) + 12).unwrap();
    assert_rebuilt_agrees(&dir, &tokenizer);
    assert_round_trip(&tokenizer);
    let keys = tokenizer.metadata();
    let encoder = rebuild(Path::new("x.gguf"), &keys).unwrap();
    let probes: Value = serde_json::from_slice(&std::fs::read(dir.join("probes.json")).unwrap()).unwrap();
    for probe in probes.as_array().unwrap() {
        let text = probe["text"].as_str().unwrap();
        assert_eq!(serde_json::json!(encoder.encode(text).unwrap()), probe["ids"], "{text:?}");
    }
}

#[test]
fn tiny_spm_without_its_model() {
    let Some(dir) = fixture("tiny-spm") else { return };
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    let (with, without) = (load(&dir, 512).unwrap(), load(copy.path(), 512).unwrap());
    assert_rebuilt_agrees(copy.path(), &without);
    assert_eq!((with.tokens, with.types, with.special), (without.tokens, without.types, without.special));
}

#[test]
fn broken_tokenizers() {
    let cases = [
        ("truncated", "column"),
        ("merge-unknown", "which is no token"),
        ("duplicate-id", "both have the id 40"),
        ("too-many", "has the id 258, but the embedding has 258 rows"),
        ("unknown-split", "no name for this pre-tokenizer"),
        ("missing", "neither tokenizer.json nor tokenizer.model"),
        ("model-garbage", "wanted a SentencePiece model"),
    ];
    for (name, wanted) in cases {
        let Some(dir) = fixture(&format!("broken/hf-tokenizer-{name}")) else { return };
        let error: Error = load(&dir, 258).unwrap_err();
        assert!(error.to_string().contains(wanted), "{name}: {error}");
    }
}

/// The keys of a real model are those that llama.cpp's converter wrote.
#[test]
fn as_llama_cpp_converts() {
    let Some(models) = std::env::var_os("TERSOR_MODELS").map(PathBuf::from) else {
        return announce("skipped: set TERSOR_MODELS to a folder with smollm2-135m and smollm2-135m-gguf");
    };
    let dir = models.join("smollm2-135m");
    let tokenizer = load(&dir, 49152).unwrap();
    let path = std::fs::read_dir(models.join("smollm2-135m-gguf")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::File::open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let theirs = read_header(&path, file, len).unwrap().metadata;
    for (key, value) in tokenizer.metadata().iter() {
        assert!(theirs.get(key) == Some(value), "{key}");
    }
    let missing: Vec<&str> = theirs.iter().map(|(key, _)| key).filter(|key| key.starts_with("tokenizer.")).collect();
    let ours = tokenizer.metadata();
    let missing: Vec<&str> = missing.into_iter().filter(|key| ours.get(key).is_none()).collect();
    // That model is the instruct one, whose files name an unknown token and a template.
    assert_eq!(missing, ["tokenizer.ggml.unknown_token_id", "tokenizer.chat_template"]);
    assert_rebuilt_agrees(&dir, &tokenizer);
    assert_round_trip(&tokenizer);
}
