//! Chat templates.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::json::{read_text, read_value};
use crate::{Error, Result};

/// The name of the template that is used when none is asked for.
pub(super) const DEFAULT: &str = "default";

/// A chat template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// `default`, `tool_use` ... in letters, digits and `_`.
    pub name: String,
    /// The Jinja source.
    pub text: String,
}

/// The templates of the folder, or the one in the file `given`. The files that were read go to `files`.
///
/// chat_template.jinja is the youngest place, so it wins over chat_template.json and tokenizer_config.json.
pub(super) fn read(
    dir: &Path,
    given: Option<&Path>,
    tokenizer_config: &Value,
    files: &mut Vec<PathBuf>,
) -> Result<Vec<Template>> {
    if let Some(path) = given {
        let missing = || Error::io("read", path)(std::io::ErrorKind::NotFound.into());
        let text = read_text(path)?.ok_or_else(missing)?;
        files.push(path.to_owned());
        return Ok(vec![Template { name: DEFAULT.into(), text }]);
    }
    let jinja = dir.join("chat_template.jinja");
    if let Some(text) = read_text(&jinja)? {
        files.push(jinja);
        let mut templates = named(&dir.join("tokenizer_config.json"), &tokenizer_config["chat_template"])?;
        templates.retain(|template| template.name != DEFAULT);
        templates.insert(0, Template { name: DEFAULT.into(), text });
        return Ok(templates);
    }
    let json = dir.join("chat_template.json");
    let value = read_value(&json)?;
    if !value["chat_template"].is_null() {
        let templates = named(&json, &value["chat_template"]);
        files.push(json);
        return templates;
    }
    named(&dir.join("tokenizer_config.json"), &tokenizer_config["chat_template"])
}

/// One text, or a list of `{name, template}`.
fn named(path: &Path, value: &Value) -> Result<Vec<Template>> {
    let wrong = || Error::malformed(path, "chat_template", shape(value), "a text or a list of {name, template}");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Template { name: DEFAULT.into(), text: text.clone() }]),
        Value::Array(list) => list
            .iter()
            .map(|entry| {
                let (name, text) = entry["name"].as_str().zip(entry["template"].as_str()).ok_or_else(wrong)?;
                Ok(Template { name: key_name(name), text: text.to_owned() })
            })
            .collect(),
        _ => Err(wrong()),
    }
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list with another entry",
        Value::Object(_) => "an object",
        _ => "something else",
    }
}

/// `name` as a part of a key: what is neither letter nor digit becomes `_`.
fn key_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
