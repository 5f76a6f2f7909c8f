use serde_json::{Value, json};

use super::{added, assert_round_trip, byte_level, folder, list, read, read_with};
use crate::tokenizer::{Options, TokenType, from_folder};

/// What went wrong, in words.
fn problem(file: &Value, rows: u64) -> String {
    read(file, rows).unwrap_err().to_string()
}

#[test]
fn both_spellings_of_merges_are_the_same() {
    let mut file = byte_level(&[("a", "b"), ("ab", "c")]);
    let pairs = read(&file, 258).unwrap();
    file["model"]["merges"] = json!(["a b", "ab c"]);
    let joined = read(&file, 258).unwrap();
    assert_eq!(list(&pairs.merges), ["a b", "ab c"]);
    assert_eq!(joined.merges, pairs.merges);
}

#[test]
fn a_space_inside_a_part_is_spelled() {
    let mut file = byte_level(&[]);
    file["model"]["vocab"][" "] = 256.into();
    file["model"]["vocab"][" a"] = 257.into();
    file["model"]["merges"] = json!([[" ", "a"]]);
    assert_eq!(list(&read(&file, 258).unwrap().merges), ["Ġ a"]);
}

#[test]
fn types_and_padding() {
    let mut file = byte_level(&[("a", "b")]);
    file["added_tokens"] = json!([
        added(257, "<eos>", true),
        added(258, "<|looks|>", false),
        added(259, "<tool>", false),
        added(256, "ab", false),
    ]);
    let tokenizer = read(&file, 262).unwrap();
    assert_eq!(tokenizer.types[97], TokenType::Normal);
    let types = &tokenizer.types[256..];
    use TokenType::{Control, Unused, UserDefined};
    assert_eq!(types, [UserDefined, Control, Control, UserDefined, Unused, Unused]);
    assert_eq!(list(&tokenizer.tokens)[259..], ["<tool>", "[PAD260]", "[PAD261]"]);
    assert_round_trip(&tokenizer);
}

#[test]
fn a_gap_is_padding() {
    let mut file = byte_level(&[]);
    file["added_tokens"] = json!([added(258, "<x>", true)]);
    assert_eq!(list(&read(&file, 259).unwrap().tokens)[256..], ["[PAD256]", "[PAD257]", "<x>"]);
}

#[test]
fn contradictions_are_named() {
    let good = byte_level(&[("a", "b")]);
    assert!(problem(&good, 256).contains("token `ab` has the id 256, but the embedding has 256 rows"));

    let mut file = good.clone();
    file["model"]["vocab"]["b"] = 97.into();
    assert!(problem(&file, 300).contains("the tokens `a` and `b` both have the id 97"));

    let mut file = good.clone();
    file["added_tokens"] = json!([added(97, "<x>", true)]);
    assert!(problem(&file, 300).contains("the tokens `a` and `<x>` both have the id 97"));

    let mut file = good.clone();
    file["added_tokens"] = json!([added(298, "a", true)]);
    assert!(problem(&file, 300).contains("token `a` has two ids, 97 and 298"));

    let mut file = good.clone();
    file["model"]["merges"] = json!([["a", "zz"]]);
    assert!(problem(&file, 300).contains("merge 0, `a` + `zz`, names `zz`, which is no token"));
    file["model"]["merges"] = json!([["a", "c"]]);
    assert!(problem(&file, 300).contains("names `ac`"));
    file["model"]["merges"] = json!(["a b c"]);
    assert!(problem(&file, 300).contains("merge 0 is not two tokens"));

    let mut file = good.clone();
    file["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]});
    assert!(problem(&file, 300).contains("normalizer `Lowercase`"));
    file["normalizer"] = json!({"type": "NFC"});
    assert!(read(&file, 300).is_ok());

    let mut file = good;
    file["model"]["type"] = "Unigram".into();
    file["model"]["vocab"] = json!([["a", -1.0]]);
    assert!(problem(&file, 300).contains("type Unigram"));
    assert!(problem(&file, u64::MAX).contains("rows has more ids"));
}

/// Cut at every length, a file is an error, and never anything else.
#[test]
fn cut_files_are_errors() {
    let whole = byte_level(&[("a", "b"), ("\u{120}", "ab")]).to_string();
    for len in (0..whole.len()).step_by(7) {
        let dir = folder(&[("tokenizer.json", &whole.as_bytes()[..len])]);
        let error = from_folder(dir.path(), &json!({}), 300, &Options::default()).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }
}

#[test]
fn ids_by_name_then_by_number() {
    let mut file = byte_level(&[]);
    file["added_tokens"] = json!([added(256, "<s>", true), added(257, "</s>", true), added(258, "<pad>", true)]);
    let config = json!({"bos_token_id": 9, "eos_token_id": [257, 3], "pad_token_id": -1, "unk_token_id": 999});
    let tokenizer_config = json!({"bos_token": {"content": "<s>"}, "eos_token": null, "pad_token": "<nowhere>"});
    let tokenizer = read_with(&file, &tokenizer_config, &config, 260).unwrap();
    let ids = ["bos", "eos", "pad", "unk"].map(|name| tokenizer.special.get(name));
    assert_eq!(ids, [Some(256), Some(257), None, None]);
    assert_eq!((tokenizer.add_bos, tokenizer.add_eos), (Some(false), None));
    assert_round_trip(&tokenizer);
}

#[test]
fn bos_is_added_as_the_files_say() {
    let mut file = byte_level(&[]);
    file["added_tokens"] = json!([added(256, "<s>", true)]);
    file["post_processor"] = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }]});
    let bos = json!({"bos_token": "<s>"});
    let tokenizer = read_with(&file, &bos, &json!({}), 257).unwrap();
    assert_eq!((tokenizer.add_bos, tokenizer.add_eos), (Some(true), Some(false)));
    assert_round_trip(&tokenizer);

    let said = json!({"bos_token": "<s>", "add_bos_token": false, "add_eos_token": true});
    let tokenizer = read_with(&file, &said, &json!({}), 257).unwrap();
    assert_eq!((tokenizer.add_bos, tokenizer.add_eos), (Some(false), Some(false)), "there is no eos to add");

    let tokenizer = read_with(&file, &json!({"add_bos_token": true}), &json!({}), 257).unwrap();
    assert_eq!(tokenizer.add_bos, Some(false), "there is no bos to add");
}

#[test]
fn chat_templates() {
    let file = byte_level(&[]).to_string();
    let list = json!({"chat_template": [
        {"name": "default", "template": "one"}, {"name": "tool use", "template": "two"}]});
    let tokenizer = read_with(&byte_level(&[]), &list, &json!({}), 256).unwrap();
    let keys = tokenizer.metadata();
    assert_eq!(keys.text("tokenizer.chat_template"), Some("one"));
    assert_eq!(keys.text("tokenizer.chat_template.tool_use"), Some("two"));
    assert_eq!(keys.strings("tokenizer.chat_templates").unwrap().iter().collect::<Vec<_>>(), ["tool_use"]);
    assert_round_trip(&tokenizer);

    let config = json!({"chat_template": "config"}).to_string();
    let json_file = json!({"chat_template": "json"}).to_string();
    let files: [(&str, &[u8]); 4] = [
        ("tokenizer.json", file.as_bytes()),
        ("tokenizer_config.json", config.as_bytes()),
        ("chat_template.json", json_file.as_bytes()),
        ("chat_template.jinja", b"jinja"),
    ];
    for (count, wanted) in [(2, "config"), (3, "json"), (4, "jinja")] {
        let dir = folder(&files[..count]);
        let tokenizer = from_folder(dir.path(), &json!({}), 256, &Options::default()).unwrap();
        assert_eq!(tokenizer.metadata().text("tokenizer.chat_template"), Some(wanted));
        assert_eq!(tokenizer.files.len(), if count == 4 { 3 } else { count });
        let given = dir.path().join("own");
        std::fs::write(&given, "own").unwrap();
        let options = Options { pre: None, chat_template: Some(&given) };
        let tokenizer = from_folder(dir.path(), &json!({}), 256, &options).unwrap();
        assert_eq!(tokenizer.metadata().text("tokenizer.chat_template"), Some("own"));
        assert!(tokenizer.files.contains(&given));
    }
    let wrong = read_with(&byte_level(&[]), &json!({"chat_template": 3}), &json!({}), 256).unwrap_err();
    assert!(wrong.to_string().contains("chat_template"), "{wrong}");
}

#[test]
fn a_folder_without_a_tokenizer() {
    let dir = folder(&[]);
    let error = from_folder(dir.path(), &json!({}), 3, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("neither tokenizer.json nor tokenizer.model"));
}
