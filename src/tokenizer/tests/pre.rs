use serde_json::json;

use super::super::pre;
use super::super::pre_table::{PRES, Step, WITHOUT_STRUCTURE};
use super::{byte_level, folder, read};
use crate::Error;
use crate::tokenizer::{Options, from_folder};

/// A tokenizer.json with the structure of these steps.
fn with_steps(steps: &[Step], ignore_merges: bool) -> serde_json::Value {
    let mut file = byte_level(&[]);
    let parts: Vec<serde_json::Value> = steps
        .iter()
        .map(|step| match step {
            Step::Split(pattern) => {
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
            }
            Step::Bytes => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
            }
        })
        .collect();
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": parts});
    file["model"]["ignore_merges"] = ignore_merges.into();
    file
}

#[test]
fn every_structure_has_its_name() {
    for row in PRES {
        for steps in std::iter::once(row.steps).chain(row.also) {
            let file = with_steps(steps, row.ignore_merges);
            assert_eq!(read(&file, 256).unwrap().pre, row.name);
        }
        let mut file = byte_level(&[]);
        file["pre_tokenizer"] = pre::to_json(row);
        file["model"]["ignore_merges"] = row.ignore_merges.into();
        assert_eq!(read(&file, 256).unwrap().pre, row.name, "as it is written");
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> =
        PRES.iter().flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied())).collect();
    names.extend(WITHOUT_STRUCTURE);
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    names.iter().for_each(|name| pre::check_name(name).unwrap());
}

#[test]
fn spellings_that_match_the_same_are_the_same() {
    let mut file = byte_level(&[]);
    let split = |pattern: &str, behavior: &str, invert: bool| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})
    };
    let spelled = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    file["pre_tokenizer"] = split(spelled, "Isolated", false);
    assert_eq!(read(&file, 256).unwrap().pre, "qwen2");
    file["pre_tokenizer"] = split(spelled, "Removed", true);
    assert_eq!(read(&file, 256).unwrap().pre, "qwen2");
    file["pre_tokenizer"] = split(spelled, "Removed", false);
    assert!(matches!(read(&file, 256), Err(Error::UnnamedPre { .. })));
}

#[test]
fn other_structures_have_no_name() {
    let byte_level_part = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    let structures = [
        json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}),
        json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, byte_level_part]}),
        json!({"type": "Sequence", "pretokenizers": [byte_level_part, byte_level_part]}),
        json!({"type": "Whitespace"}),
        json!(null),
    ];
    for structure in structures {
        let mut file = byte_level(&[]);
        file["pre_tokenizer"] = structure.clone();
        assert!(matches!(read(&file, 256), Err(Error::UnnamedPre { .. })), "{structure}");
    }
    let mut file = byte_level(&[]);
    file["model"]["ignore_merges"] = true.into();
    assert!(matches!(read(&file, 256), Err(Error::UnnamedPre { .. })), "gpt-2 with ignore_merges");
}

#[test]
fn a_name_that_is_given_wins() {
    let mut file = byte_level(&[]);
    file["pre_tokenizer"] = json!({"type": "Whitespace"});
    let dir = folder(&[("tokenizer.json", file.to_string().as_bytes())]);
    let with = |name| from_folder(dir.path(), &json!({}), 256, &Options { pre: Some(name), chat_template: None });
    assert_eq!(with("kimi-k2").unwrap().pre, "kimi-k2");
    assert_eq!(with("starcoder").unwrap().pre, "starcoder");
    let error = with("qwen3").unwrap_err();
    assert_eq!(error.to_string(), "unknown pre-tokenizer `qwen3`; known are qwen2, qwen35");
}
