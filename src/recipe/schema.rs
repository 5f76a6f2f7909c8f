//! What a recipe can say: as JSON Schema for editors, and as a commented file to begin with.

use super::{BENCH, CONVERT, EVAL, Kind, LIMITS, PASSES, QUANTIZE};
use crate::error::Result;
use crate::options::keys::{Takes, takes};
use crate::source::Source;
use clap::Arg;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The JSON Schema of recipes (draft 2020-12).
pub fn schema() -> Value {
    let pass = |kind: &Kind| table(kind, &[("kind", json!({ "const": kind.name }))]);
    let output = |kind: &Kind| table(kind, &[("file", json!({ "type": "string" }))]);
    let limits: Map<String, Value> = LIMITS
        .iter()
        .map(|(name, about)| ((*name).into(), json!({ "type": ["number", "string"], "description": about })))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tersor recipe",
        "type": "object",
        "additionalProperties": false,
        "required": ["source", "output"],
        "properties": {
            "source": { "type": "string", "description": "a Hugging Face folder, a GGUF file, or org/name[@revision]" },
            "out_dir": { "type": "string", "description": "where outputs go" },
            "pass": { "type": "array", "items": { "oneOf": PASSES.iter().map(pass).collect::<Vec<_>>() } },
            "output": { "type": "array", "minItems": 1, "items": { "anyOf": [output(&QUANTIZE), output(&CONVERT)] } },
            "eval": table(&EVAL, &[]),
            "bench": table(&BENCH, &[]),
            "limits": { "type": "object", "additionalProperties": false, "properties": limits },
        },
    })
}

fn table(kind: &Kind, more: &[(&str, Value)]) -> Value {
    let options = (kind.options)();
    let own = options.iter().map(|arg| (arg.get_id().to_string(), property(arg)));
    let more_names: Vec<&str> = more.iter().map(|(name, _)| *name).collect();
    let all: Map<String, Value> = more.iter().map(|(name, value)| ((*name).into(), value.clone())).chain(own).collect();
    let required = options.iter().filter(|arg| arg.is_required_set()).map(|arg| arg.get_id().as_str());
    json!({
        "type": "object",
        "description": kind.about,
        "additionalProperties": false,
        "required": more_names.iter().copied().chain(required).collect::<Vec<_>>(),
        "properties": all,
    })
}

fn property(arg: &Arg) -> Value {
    let words: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let one = match takes(arg) {
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Integer => json!({ "type": "integer" }),
        Takes::Number => json!({ "type": "number" }),
        Takes::Text if !words.is_empty() => json!({ "enum": words }),
        Takes::Path | Takes::Text => json!({ "type": ["string", "number"] }),
    };
    let many = matches!(arg.get_action(), clap::ArgAction::Append) || arg.get_value_delimiter().is_some();
    let mut value = if many { json!({ "anyOf": [one.clone(), { "type": "array", "items": one }] }) } else { one };
    if let Some(help) = arg.get_help() {
        value["description"] = help.to_string().into();
    }
    value
}

/// A recipe for the model at `path`, with everything that it could say besides in comments.
///
/// # Errors
/// Whatever makes it no model.
pub fn template(path: &Path) -> Result<String> {
    let source = Source::open(path)?;
    let quote = |text: &str| Value::from(text).to_string();
    let mut text = format!(
        "# A recipe of tersor: `tersor run` makes what is out of date. Paths are relative to this file.\n\n\
         source = {}\nout_dir = \"build\"\n",
        quote(&path.to_string_lossy())
    );
    for kind in PASSES {
        text += &format!("\n# Passes, in order: {}.\n# [[pass]]\n# kind = \"{}\"\n", kind.about, kind.name);
        text += &commented(kind);
    }
    text += &format!(
        "\n# Outputs: {}.\n[[output]]\nfile = {}\n",
        QUANTIZE.about,
        quote(&format!("{}-Q4_K_M.gguf", source.name))
    );
    text += &format!("type = \"q4_k_m\"\n{}", commented(&QUANTIZE).replace("# type = \"q4_k_m\"\n", ""));
    for (name, kind) in [("eval", &EVAL), ("bench", &BENCH)] {
        text += &format!("\n# Measured: {}.\n# [{name}]\n{}", kind.about, commented(kind));
    }
    text += "\n# Bounds that fail a run with exit code 4.\n# [limits]\n";
    for (name, about) in LIMITS {
        text += &format!("# {name} = ...  # {about}\n");
    }
    Ok(text)
}

/// The options of a kind in comments, each with its default and the first line of its help.
fn commented(kind: &Kind) -> String {
    let line = |arg: &Arg| {
        let default: Vec<String> = arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
        let value = match (takes(arg), default.first()) {
            (Takes::Flag, _) => "false".to_owned(),
            (Takes::Integer | Takes::Number, Some(default)) => default.clone(),
            (_, Some(default)) => format!("\"{default}\""),
            (_, None) => "...".to_owned(),
        };
        let help =
            arg.get_help().map_or_else(String::new, |help| format!("  # {}", help.to_string().replace('\n', " ")));
        format!("# {} = {value}{help}\n", arg.get_id())
    };
    (kind.options)().iter().map(line).collect()
}
