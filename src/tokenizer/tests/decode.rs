use std::path::Path;

use serde_json::json;

use super::{added, byte_level, read};
use crate::gguf::Metadata;
use crate::source::Source;
use crate::tokenizer::{Decoder, PROBES, metadata_of, rebuild};

/// The text of `ids`, token by token.
fn decoded(keys: &Metadata, ids: &[u32]) -> Vec<String> {
    let mut decoder = Decoder::new(Path::new("x.gguf"), keys).unwrap();
    let mut parts: Vec<String> = ids.iter().map(|id| decoder.push(*id)).collect();
    parts.push(decoder.finish());
    parts
}

fn assert_texts_come_back(keys: &Metadata, prefix: &str) {
    let encoder = rebuild(Path::new("x.gguf"), keys).unwrap();
    // A special token would cut the text into stretches.
    for text in PROBES.iter().filter(|text| !text.is_empty() && !text.contains("<0x") && !text.contains('▁')) {
        let ids = encoder.encode(text).unwrap();
        assert_eq!(decoded(keys, &ids).concat(), format!("{prefix}{text}"));
    }
}

#[test]
fn texts_come_back() {
    let keys = read(&byte_level(&[("t", "h"), ("Ġ", "th"), ("Ð", "°")]), 259).unwrap().into_metadata();
    assert_texts_come_back(&keys, "");
    for (name, prefix) in [("tiny-llama", ""), ("tiny-spm", " ")] {
        let folder = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let source = Source::open(Path::new(&folder)).unwrap();
        assert_texts_come_back(&metadata_of(&source).unwrap(), prefix);
    }
}

#[test]
fn a_character_waits_for_its_last_byte() {
    let keys = read(&byte_level(&[]), 256).unwrap().into_metadata();
    // A thumb is f0 9f 91 8d.
    let parts = decoded(&keys, &[0x61, 0xf0, 0x9f, 0x91, 0x8d, 0x62]);
    assert_eq!(parts, ["a", "", "", "", "👍", "b", ""]);
    // What never becomes a character does not hold up the rest.
    assert_eq!(decoded(&keys, &[0xf0, 0x9f, 0x61, 0xff, 0x62, 0xe2]).concat(), "\u{fffd}a\u{fffd}b\u{fffd}");
}

#[test]
fn control_tokens_are_not_printed_and_others_are_as_they_stand() {
    let mut file = byte_level(&[]);
    file["added_tokens"] = json!([added(256, "<|x|>", true), added(257, "Ġ added", false)]);
    let keys = read(&file, 300).unwrap().into_metadata();
    assert_eq!(decoded(&keys, &[0x61, 256, 257, 299, 4_000_000_000, 0x62]).concat(), "aĠ addedb");
}
