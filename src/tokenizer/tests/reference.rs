//! The reference is what the `tokenizers` crate reads, whichever way its model is read.

use serde_json::{Value, json};

use super::{added, byte_level, folder};
use crate::tokenizer::{PROBES, reference};

/// Both readings of `file` cut every text alike and have the same special tokens; or both refuse it, in the same words.
fn assert_as_the_crate(name: &str, file: &str) {
    let dir = folder(&[("tokenizer.json", file.as_bytes())]);
    let (ours, theirs) = match (reference(dir.path()), file.parse::<tokenizers::Tokenizer>()) {
        (Ok(ours), Ok(theirs)) => (ours.unwrap(), theirs),
        (Err(ours), Err(theirs)) => {
            return assert!(ours.to_string().contains(&theirs.to_string()), "{name}: {ours}, {theirs}");
        }
        (ours, theirs) => panic!("{name}: {:?} and {:?}", ours.err(), theirs.err()),
    };
    let mut special: Vec<_> = theirs.get_added_tokens_decoder().into_iter().map(|(id, t)| (id, t.content)).collect();
    special.sort_unstable();
    let special: Vec<String> = special.into_iter().map(|(_, text)| text).collect();
    assert_eq!(ours.special_tokens(), special, "{name}");
    let more = ["abc abd zab #x", "a<|x|>b <|x|>y<|x|> c", "über z", "#version ab"];
    for text in PROBES.iter().chain(&more) {
        let wanted = theirs.encode_fast(*text, false).map(|e| e.get_ids().to_vec()).map_err(|e| e.to_string());
        match ours.encode(text) {
            Ok(ids) => assert_eq!(Ok(ids), wanted, "{name}: {text:?}"),
            Err(e) => assert!(e.to_string().contains(&wanted.unwrap_err()), "{name}: {e}"),
        }
    }
}

const MERGES: &[(&str, &str)] = &[("a", "b"), ("ab", "c"), ("Ġ", "a"), ("Ġ", "Ġ"), ("Ã", "¼")];

/// A file whose vocabulary holds what every case needs, with `change` made to its model.
fn with_model(change: impl FnOnce(&mut Value)) -> String {
    let mut file = byte_level(MERGES);
    let next = 256 + MERGES.len() as u32;
    let more = ["abd", "<unk>", "#version", "##b", "z</w>", "<0xC3>", "<0xBC>", "aa"];
    for (id, text) in (next..).zip(more) {
        file["model"]["vocab"][text] = id.into();
    }
    file["added_tokens"] = json!([added(400, "<|x|>", true), added(401, "<|x|>y", false), added(97, "a", true)]);
    change(&mut file["model"]);
    file.to_string()
}

/// The name of a case, and what is set in `model`.
fn cases() -> Vec<(&'static str, Value)> {
    vec![
        ("as it is", json!({})),
        ("joined merges", json!({"merges": ["a b", "ab c", "Ġ a"]})),
        ("a version among the merges", json!({"merges": ["#version a", "a b"]})),
        ("both spellings", json!({"merges": ["a b", ["ab", "c"]]})),
        ("a joined merge of three", json!({"merges": ["a b c"]})),
        ("a joined merge of one", json!({"merges": ["ab"]})),
        ("an empty part", json!({"merges": ["a "]})),
        ("a merge of three", json!({"merges": [["a", "b", "c"]]})),
        ("a merge of no token", json!({"merges": [["a", "q!"]]})),
        ("a merge into no token", json!({"merges": [["a", "q"]]})),
        ("no merges", json!({"merges": []})),
        ("merges of null", json!({"merges": null})),
        ("no vocabulary", json!({"vocab": {}})),
        ("an empty vocabulary", json!({"vocab": {}, "merges": []})),
        ("a vocabulary of scores", json!({"vocab": [["a", -1.0]]})),
        ("a negative id", json!({"vocab": {"a": -1}})),
        ("whole words", json!({"ignore_merges": true})),
        ("null flags", json!({"ignore_merges": null, "byte_fallback": null, "fuse_unk": null, "dropout": null})),
        ("a flag that is a text", json!({"ignore_merges": "yes"})),
        ("an unknown token", json!({"unk_token": "<unk>", "vocab": {"a": 0, "<unk>": 1}, "merges": []})),
        (
            "unknown tokens fused",
            json!({"unk_token": "<unk>", "fuse_unk": true, "vocab": {"a": 0, "<unk>": 1}, "merges": []}),
        ),
        ("an unknown token that is none", json!({"unk_token": "<none>", "vocab": {"a": 0}, "merges": []})),
        (
            "bytes",
            json!({"byte_fallback": true, "unk_token": "<unk>", "vocab": {"<unk>": 0, "<0xC3>": 1, "<0x83>": 2}, "merges": []}),
        ),
        ("a prefix", json!({"continuing_subword_prefix": "##", "merges": [["a", "##b"]]})),
        ("an empty prefix", json!({"continuing_subword_prefix": ""})),
        ("a suffix", json!({"end_of_word_suffix": "</w>"})),
        ("no dropout", json!({"dropout": 0.0})),
        ("full dropout", json!({"dropout": 1.0})),
        ("too much dropout", json!({"dropout": 1.5})),
        (
            "another type",
            json!({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}),
        ),
        ("a type that is none", json!({"type": "Other"})),
        ("a type of null", json!({"type": null})),
        ("another field", json!({"something": [1, {"else": 2}]})),
    ]
}

#[test]
fn every_setting_of_a_model_is_carried_over() {
    for (name, changes) in cases() {
        let file = with_model(|model| {
            model.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        });
        assert_as_the_crate(name, &file);
    }
    for field in ["type", "vocab", "merges"] {
        let file = with_model(|model| {
            model.as_object_mut().unwrap().shift_remove(field);
        });
        assert_as_the_crate(field, &file);
    }
}

#[test]
fn what_stands_around_the_model_is_the_crates_to_read() {
    let good = with_model(|_| ());
    let model = good.find("\"model\"").unwrap();
    assert_as_the_crate("cut", &good[..model + (good.len() - model) / 2]);
    assert_as_the_crate("escapes", &good.replace("abd", "\\u0061bd"));
    assert_as_the_crate(
        "a field twice",
        &good.replace("\"ignore_merges\":false", "\"fuse_unk\":true,\"fuse_unk\":false"),
    );
    let mut file: Value = good.parse().unwrap();
    for (key, value) in [
        ("normalizer", json!({"type": "Lowercase"})),
        ("pre_tokenizer", json!({"type": "Whitespace"})),
        ("post_processor", json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false})),
        ("version", json!("2.0")),
    ] {
        let old = file[key].clone();
        file[key] = value;
        assert_as_the_crate(key, &file.to_string());
        file[key] = old;
    }
}

/// Over these the crate panics.
#[test]
fn what_the_crate_cannot_bear_is_an_error_or_passed_over() {
    let good = with_model(|_| ());
    for (name, broken) in [
        ("a decoder cut off", &good[..good.find("\"decoder\"").unwrap() + 20]),
        ("an empty file", ""),
        ("a normalizer", &good.replace("\"normalizer\":null", "\"normalizer\":{\"type\":\"Precompiled\"}")),
    ] {
        let dir = folder(&[("tokenizer.json", broken.as_bytes())]);
        assert!(matches!(reference(dir.path()), Err(crate::Error::Tokenizer { .. })), "{name}");
    }
    let decoder = good.replace("\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"Nothing\"");
    let ids = |file: &str| {
        let dir = folder(&[("tokenizer.json", file.as_bytes())]);
        reference(dir.path()).unwrap().unwrap().encode("bcd zab").unwrap()
    };
    assert_eq!(ids(&decoder), ids(&good));
}

#[test]
fn fixtures() {
    for name in ["tiny-llama", "tiny-spm", "broken/hf-valid", "broken/hf-tokenizer-truncated"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).join("tokenizer.json");
        assert_as_the_crate(name, &std::fs::read_to_string(path).unwrap());
    }
}
