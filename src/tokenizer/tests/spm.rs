use std::path::Path;

use serde_json::{Value, json};

use super::super::protobuf::{put_bytes, put_f32, put_varint};
use super::{added, assert_round_trip, folder, list, read, read_with};
use crate::Result;
use crate::tokenizer::{Model, Options, TokenType, Tokenizer, from_folder, rebuild, reference};

const PIECES: &[(&str, f32, u64)] = &[
    ("<unk>", 0.0, 2),
    ("<s>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<0x0A>", 0.0, 6),
    ("<0xC3>", 0.0, 6),
    ("<0xA9>", 0.0, 6),
    ("▁a", -1.0, 1),
    ("ab", -2.0, 1),
    ("▁ab", -3.0, 1),
    ("▁", -4.0, 1),
    ("a", -5.0, 1),
    ("b", -6.0, 1),
    ("▁▁<x>", 0.0, 4),
];

/// tokenizer.model with `pieces`, a model type, and a flag for the space in front.
fn model(pieces: &[(&str, f32, u64)], model_type: u64, prefix: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = Vec::new();
        put_bytes(&mut piece, 1, text.as_bytes());
        put_f32(&mut piece, 2, *score);
        put_varint(&mut piece, 3, *kind);
        put_bytes(&mut out, 1, &piece);
    }
    let mut trainer = Vec::new();
    put_varint(&mut trainer, 3, model_type);
    put_varint(&mut trainer, 43, -1i64 as u64);
    put_bytes(&mut out, 2, &trainer);
    let mut normalizer = Vec::new();
    put_varint(&mut normalizer, 3, prefix.into());
    put_varint(&mut normalizer, 4, 0);
    put_bytes(&mut out, 3, &normalizer);
    out
}

fn load(bytes: &[u8], rows: u64) -> Result<Tokenizer> {
    let dir = folder(&[("tokenizer.model", bytes)]);
    from_folder(dir.path(), &json!({}), rows, &Options::default())
}

#[test]
fn pieces_types_scores_and_padding() {
    let tokenizer = load(&model(PIECES, 2, true), 15).unwrap();
    assert_eq!((tokenizer.model, tokenizer.pre.as_str()), (Model::Llama, "default"));
    assert_eq!(list(&tokenizer.tokens)[12..], ["  <x>", "[PAD13]", "[PAD14]"]);
    assert_eq!(tokenizer.types[12..], [TokenType::UserDefined, TokenType::Unused, TokenType::Unused]);
    assert_eq!(tokenizer.scores[6..9], [-1.0, -2.0, -3.0]);
    assert_eq!(tokenizer.scores[13], -10000.0);
    let ids = ["unk", "bos", "eos", "pad"].map(|name| tokenizer.special.get(name));
    assert_eq!(ids, [Some(0), Some(1), Some(2), None]);
    assert_round_trip(&tokenizer);
}

#[test]
fn scores_decide() {
    let encode = |prefix: bool, text: &str| {
        let keys = load(&model(PIECES, 2, prefix), 13).unwrap().into_metadata();
        rebuild(Path::new("x.gguf"), &keys).unwrap().encode(text).unwrap()
    };
    assert_eq!(encode(true, ""), [] as [u32; 0]);
    assert_eq!(encode(true, "ab"), [8]);
    assert_eq!(encode(false, "ab"), [7]);
    assert_eq!(encode(false, "aab ab"), [10, 7, 8]);
    assert_eq!(encode(true, "é\n"), [9, 4, 5, 3]);
    assert_eq!(encode(true, "é☃"), [9, 4, 5, 0, 0, 0], "bytes without a piece are unknown");
    assert_eq!(encode(true, "a<s>a</s>"), [6, 1, 6, 2], "text begins anew after a special token");
    assert_eq!(encode(true, "a  <x>b"), [6, 12, 9, 11]);
}

#[test]
fn what_cannot_be_held_is_an_error() {
    let problem = |result: Result<Tokenizer>| result.unwrap_err().to_string();
    assert!(problem(load(&model(PIECES, 1, true), 13)).contains("type Unigram"));
    assert!(problem(load(&model(PIECES, 9, true), 13)).contains("type unknown"));
    assert!(problem(load(&model(PIECES, 2, true), 12)).contains("13 tokens, but the embedding has 12 rows"));
    let twice = [PIECES, &[("ab", 0.0, 1)]].concat();
    assert!(problem(load(&model(&twice, 2, true), 14)).contains("token `ab` has two ids, 7 and 13"));
    assert!(problem(load(&model(&[("a", f32::NAN, 1)], 2, true), 14)).contains("score NaN"));
    assert!(problem(load(b"", 14)).contains("pieces"));
}

/// Cut, changed and random bytes: an error or a tokenizer, in bounded time and memory.
#[test]
fn garbage_is_no_panic() {
    let good = model(PIECES, 2, true);
    for len in 0..good.len() {
        let _ = load(&good[..len], 13);
        for value in [0, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[len] = value;
            let _ = load(&bytes, 13);
        }
    }
    let every: Vec<u8> = (0..=255).collect();
    assert!(load(&every, 13).unwrap_err().to_string().contains("field number 0"));
    assert!(load(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 13).is_err());
    assert!(load(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 13).is_err());
}

#[test]
fn tokens_beside_the_model() {
    let config = json!({
        "bos_token": "<begin>", "add_bos_token": true, "add_eos_token": false,
        "added_tokens_decoder": {
            "0": {"content": "<unk>", "special": true},
            "1": {"content": "<begin>", "special": true},
            "14": {"content": "▁<tool>", "special": false},
        },
    });
    let dir = folder(&[
        ("tokenizer.model", &model(PIECES, 2, true)),
        ("tokenizer_config.json", config.to_string().as_bytes()),
        ("added_tokens.json", br#"{"<extra>": 13}"#),
    ]);
    let tokenizer = from_folder(dir.path(), &json!({}), 15, &Options::default()).unwrap();
    assert_eq!(list(&tokenizer.tokens)[..2], ["<unk>", "<begin>"]);
    assert_eq!(list(&tokenizer.tokens)[13..], ["<extra>", " <tool>"]);
    assert_eq!(tokenizer.types[..2], [TokenType::Unknown, TokenType::Control]);
    assert_eq!(tokenizer.scores[13..], [-1000.0, -1000.0]);
    assert_eq!((tokenizer.special.get("bos"), tokenizer.add_bos), (Some(1), Some(true)));
    assert_eq!(tokenizer.files.len(), 3);
    assert_round_trip(&tokenizer);
    let error = from_folder(dir.path(), &json!({}), 14, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("token `▁<tool>` has the id 14"), "{error}");
}

/// A tokenizer.json of the Llama 2 kind.
fn llama_json() -> Value {
    let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁a", "ab", "▁ab", "▁", "a", "b"];
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().zip(0..).map(|(t, id)| (t.to_string(), id.into())).collect();
    json!({
        "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": ["▁ a", "a b", "▁ ab", "▁a b"]},
    })
}

#[test]
fn tokenizer_json_with_byte_fallback() {
    let file = llama_json();
    let tokenizer = read_with(&file, &json!({"bos_token": "<s>", "eos_token": "</s>"}), &json!({}), 11).unwrap();
    assert_eq!(tokenizer.model, Model::Llama);
    assert_eq!(tokenizer.scores[4..7], [-4.0, -5.0, -6.0]);
    let ids = ["unk", "bos", "eos"].map(|name| tokenizer.special.get(name));
    assert_eq!(ids, [Some(0), Some(1), Some(2)]);
    assert_eq!(tokenizer.types[..4], [TokenType::Unknown, TokenType::Control, TokenType::Control, TokenType::Byte]);
    assert_eq!(tokenizer.add_space_prefix, Some(true));
    assert_round_trip(&tokenizer);
    let dir = folder(&[("tokenizer.json", file.to_string().as_bytes())]);
    let keys = tokenizer.metadata();
    let left = rebuild(Path::new("x.gguf"), &keys).unwrap();
    let right = reference(dir.path()).unwrap().unwrap();
    let texts = ["", "ab", "a b ab", "<s>a", "b<s> a\n</s>"];
    assert_eq!(crate::tokenizer::first_difference(&left, &right, texts.into_iter()).unwrap(), None);
}

/// Ids that are no ranks: the scores are.
#[test]
fn ranks_out_of_order() {
    let mut file = llama_json();
    file["model"]["merges"] = json!(["a b", "▁ ab", "▁ a", "▁a b"]);
    let tokenizer = read(&file, 10).unwrap();
    assert_eq!(tokenizer.scores[4..8], [-2.0, 0.0, -1.0, -4.0]);
}

#[test]
fn other_normalizers_are_errors() {
    for (place, part) in [
        ("normalizer", json!({"type": "NFKC"})),
        ("pre_tokenizer", json!({"type": "Whitespace"})),
        ("pre_tokenizer", json!({"type": "Metaspace", "replacement": "▁", "split": true})),
    ] {
        let mut file = llama_json();
        file[place] = part;
        assert!(read(&file, 11).unwrap_err().to_string().contains("marking spaces"));
    }
    let mut file = llama_json();
    file["normalizer"] = Value::Null;
    assert!(read(&file, 11).unwrap_err().to_string().contains("marked with"));
    for (scheme, prefix) in [("never", false), ("first", true), ("always", true)] {
        file["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
        assert_eq!(read(&file, 11).unwrap().add_space_prefix, Some(prefix));
    }
}
