//! Small tokenizers to test with.

mod bpe;
mod chat;
mod decode;
mod encode;
mod fixtures;
mod pre;
mod reference;
mod spm;

use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Options, Tokenizer, from_folder};
use crate::Result;
use crate::gguf::Strings;

/// The 256 bytes as GPT-2 spells them, by byte.
fn alphabet() -> Vec<String> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100..;
    let mut spell = |byte: u32| if printable(byte) { byte } else { next.next().unwrap() };
    (0..256).map(|byte| char::from_u32(spell(byte)).unwrap().to_string()).collect()
}

/// A byte-level tokenizer.json: the bytes have the ids 0 to 255, then come the results of `merges`.
fn byte_level(merges: &[(&str, &str)]) -> Value {
    let mut vocab = Map::new();
    let results = merges.iter().map(|(left, right)| format!("{left}{right}"));
    for (id, text) in alphabet().into_iter().chain(results).enumerate() {
        vocab.insert(text, id.into());
    }
    json!({
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": false},
    })
}

/// An entry of `added_tokens`.
fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special})
}

/// The texts as a list.
fn list(strings: &Strings) -> Vec<&str> {
    strings.iter().collect()
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// The tokenizer of a folder that holds only this tokenizer.json.
fn read(file: &Value, rows: u64) -> Result<Tokenizer> {
    read_with(file, &json!({}), &json!({}), rows)
}

/// The tokenizer of a folder with this tokenizer.json, tokenizer_config.json and config.json.
fn read_with(file: &Value, tokenizer_config: &Value, config: &Value, rows: u64) -> Result<Tokenizer> {
    let (file, tokenizer_config) = (file.to_string(), tokenizer_config.to_string());
    let dir = folder(&[("tokenizer.json", file.as_bytes()), ("tokenizer_config.json", tokenizer_config.as_bytes())]);
    from_folder(dir.path(), config, rows, &Options::default())
}

/// Write the files of `tokenizer` and read them again: the keys are the same.
fn assert_round_trip(tokenizer: &Tokenizer) {
    let keys = tokenizer.metadata();
    let again = super::from_metadata(Path::new("x.gguf"), &keys).unwrap();
    assert!(again.metadata() == keys, "through the keys");
    let files = again.to_files().unwrap();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let dir = folder(&files);
    let rows = tokenizer.tokens.len() as u64;
    let read = from_folder(dir.path(), &json!({}), rows, &Options::default()).unwrap();
    for (key, value) in keys.iter() {
        assert_eq!(read.metadata().get(key), Some(value), "`{key}` through a folder");
    }
    assert_eq!(read.metadata().len(), keys.len());
}
