//! Removing whole blocks, and renumbering what is left.

use crate::arch::{Count, layer_number};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value as GgufValue};
use crate::source::{Content, Origin, Source};
use crate::tensor::{TensorId, TensorInfo};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Keys of config.json that hold numbers of blocks.
const NUMBERS: &[&str] = &["mlp_only_layers", "cross_attention_layers"];

/// Keys, of config.json and of GGUF after the family's name, that say how many blocks at the beginning are of a kind.
const LEADING: &[&str] = &["max_window_layers", "first_k_dense_replace", "leading_dense_block_count"];

/// Keys of config.json that give a block its kind by its position, with the value that makes all alike.
const PERIODIC: &[&str] = &[
    "attn_layer_period",
    "expert_layer_period",
    "decoder_sparse_step",
    "full_attention_interval",
    "no_rope_layer_interval",
    "interleave_moe_layer_step",
    "global_attn_every_n_layers",
    "sliding_window_pattern",
];

/// Where that list stands, if a model has it: then the pattern follows from it.
const KINDS: &str = "layer_types";

/// How many blocks the model has.
pub(super) fn count(source: &Source) -> Result<usize> {
    let (hf, gguf) = Count::Layers.keys();
    let found = match &source.origin {
        Origin::HuggingFace { config, .. } => (config.get(hf).and_then(Value::as_u64), hf.to_owned()),
        Origin::Gguf { metadata } => {
            let key = format!("{}.{gguf}", metadata.text("general.architecture").unwrap_or_default());
            (metadata.count(&key), key)
        }
        Origin::Bare => (None, hf.to_owned()),
    };
    match found {
        (Some(count), _) if count > 0 => Ok(count as usize),
        (_, key) => Err(Error::MissingKey { path: source.config_path(), key }),
    }
}

/// The model without the blocks in `dropped`, which are some of its blocks and not all.
///
/// # Errors
/// Tensors whose block cannot be told, settings that give blocks their kind by position.
pub(super) fn without(source: &Source, dropped: &BTreeSet<usize>) -> Result<Source> {
    let count = count(source)?;
    let kept: Vec<usize> = (0..count).filter(|n| !dropped.contains(n)).collect();
    let prefix = prefix(source, count)?;
    let mut tensors: Vec<(TensorInfo, Content)> = Vec::new();
    for (n, tensor) in source.tensors().iter().enumerate() {
        let content = Content::Of(TensorId(n));
        let Some((number, rest)) = numbered(&tensor.name, &prefix) else {
            tensors.push((tensor.clone(), content));
            continue;
        };
        let Ok(new) = kept.binary_search(&number) else { continue };
        tensors.push((TensorInfo { name: format!("{prefix}{new}{rest}"), ..tensor.clone() }, content));
    }
    let mut changed = source.with_tensors(tensors);
    match &mut changed.origin {
        Origin::HuggingFace { config, .. } => correct_config(source, config, &kept)?,
        Origin::Gguf { metadata } => correct_metadata(metadata, &kept),
        Origin::Bare => {}
    }
    Ok(changed)
}

/// What stands before the number of a block in the names of tensors.
fn prefix(source: &Source, count: usize) -> Result<String> {
    let numbered = source.tensors().iter().filter_map(|t| {
        let number = layer_number(&t.name)?.to_string();
        let parts = t.name.split('.').take_while(|part| *part != number);
        Some((parts.map(|part| format!("{part}.")).collect::<String>(), number.parse::<usize>().ok()?, &t.name))
    });
    let usage =
        |problem: String| Err(Error::Usage { problem, hint: "depth is for models of one stack of blocks".into() });
    let mut found: Option<String> = None;
    for (prefix, number, name) in numbered {
        match &found {
            Some(known) if *known != prefix => return usage(format!("blocks under `{known}` and `{prefix}`")),
            _ if number >= count => return usage(format!("tensor `{name}` is beyond the {count} blocks")),
            _ => found = Some(prefix),
        }
    }
    found.ok_or_else(|| Error::Usage {
        problem: "no name of a tensor has the number of a block".into(),
        hint: "depth is for models of one stack of blocks".into(),
    })
}

fn numbered<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let rest = name.strip_prefix(prefix)?;
    let (number, _) = rest.split_once('.')?;
    Some((number.parse().ok()?, &rest[number.len()..]))
}

fn correct_config(source: &Source, config: &mut Map<String, Value>, kept: &[usize]) -> Result<()> {
    let count = count(source)?;
    let periodic = PERIODIC.iter().find(|key| config.get(**key).and_then(Value::as_u64).is_some_and(|n| n > 1));
    if let (Some(key), false) = (periodic, config.contains_key(KINDS)) {
        return Err(Error::Usage {
            problem: format!("`{}`: `{key}` gives blocks their kind by position", source.config_path().display()),
            hint: format!("list the kind of every block under `{KINDS}`, if the model's code reads that"),
        });
    }
    config.insert(Count::Layers.keys().0.into(), kept.len().into());
    for (key, value) in config.iter_mut() {
        match value {
            Value::Array(list) if NUMBERS.contains(&key.as_str()) => {
                let new = |old: &Value| kept.binary_search(&(old.as_u64()? as usize)).ok().map(Value::from);
                *list = list.iter().filter_map(new).collect();
            }
            // Ids of tokens may be as many as there are blocks, by chance.
            Value::Array(list) if list.len() == count && !key.contains("token") => {
                *list = kept.iter().map(|n| list[*n].clone()).collect();
            }
            Value::Number(number) if LEADING.contains(&key.as_str()) => {
                let old = number.as_u64().unwrap_or(0) as usize;
                *value = kept.iter().filter(|n| **n < old).count().into();
            }
            _ => {}
        }
    }
    Ok(())
}

fn correct_metadata(metadata: &mut Metadata, kept: &[usize]) {
    let family = format!("{}.", metadata.text("general.architecture").unwrap_or_default());
    let count = metadata.count(&format!("{family}{}", Count::Layers.keys().1)).unwrap_or(0) as usize;
    let old: Vec<(String, GgufValue)> = metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    for (key, value) in old {
        let Some(name) = key.strip_prefix(&family) else { continue };
        match value {
            _ if name == Count::Layers.keys().1 => metadata.set(key, kept.len() as u32),
            GgufValue::Array(list) if list.len() == count => metadata.set(key, GgufValue::Array(list.at(kept))),
            value if LEADING.contains(&name) => {
                let old = value.as_u64().unwrap_or(0) as usize;
                metadata.set(key, kept.iter().filter(|n| **n < old).count() as u32);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_blocks_follow_them() {
        let source = Source::open(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama").as_ref()).unwrap();
        assert_eq!(count(&source).unwrap(), 4);
        let mut config = json!({
            "layer_types": ["a", "b", "c", "d"], "eos_token_id": [1, 2, 3, 4], "mlp_only_layers": [0, 1, 3],
            "max_window_layers": 2, "num_hidden_layers": 4, "decoder_sparse_step": 1, "other": [1, 2],
        });
        let config = config.as_object_mut().unwrap();
        correct_config(&source, config, &[0, 2, 3]).unwrap();
        let wanted = json!({
            "layer_types": ["a", "c", "d"], "eos_token_id": [1, 2, 3, 4], "mlp_only_layers": [0, 2],
            "max_window_layers": 1, "num_hidden_layers": 3, "decoder_sparse_step": 1, "other": [1, 2],
        });
        assert_eq!(Value::Object(config.clone()), wanted);
        config.remove("layer_types");
        config.insert("full_attention_interval".into(), 4.into());
        assert!(correct_config(&source, config, &[0]).is_err());
    }

    #[test]
    fn keys_of_blocks_follow_them() {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "x");
        metadata.set("x.block_count", 4u32);
        metadata.set("x.leading_dense_block_count", 2u32);
        metadata.set("x.feed_forward_length", vec![10u32, 11, 12, 13]);
        metadata.set("tokenizer.ggml.scores", vec![10u32, 11, 12, 13]);
        correct_metadata(&mut metadata, &[1, 3]);
        let show = |key: &str| metadata.get(key).unwrap().to_string();
        assert_eq!(metadata.count("x.block_count"), Some(2));
        assert_eq!(metadata.count("x.leading_dense_block_count"), Some(1));
        assert_eq!(show("x.feed_forward_length"), "u32[2] [11, 13]");
        assert_eq!(show("tokenizer.ggml.scores"), "u32[4] [10, 11, 12, 13]");
    }
}
