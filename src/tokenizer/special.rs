//! Ids with a purpose, and whether bos and eos are added to text.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::json::read_value;
use crate::Result;

/// One purpose.
#[derive(Debug)]
pub(super) struct Role {
    /// As in `bos_token` and `bos_token_id`.
    pub(super) name: &'static str,
    /// The key in GGUF.
    pub(super) key: &'static str,
}

const fn role(name: &'static str, key: &'static str) -> Role {
    Role { name, key }
}

/// The purposes, in the order in which they are written. `seperator` is how the key is spelled.
pub(super) static ROLES: [Role; 7] = [
    role("bos", "tokenizer.ggml.bos_token_id"),
    role("eos", "tokenizer.ggml.eos_token_id"),
    role("unk", "tokenizer.ggml.unknown_token_id"),
    role("sep", "tokenizer.ggml.seperator_token_id"),
    role("pad", "tokenizer.ggml.padding_token_id"),
    role("cls", "tokenizer.ggml.cls_token_id"),
    role("mask", "tokenizer.ggml.mask_token_id"),
];

/// An id per purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specials {
    ids: [Option<u32>; ROLES.len()],
}

impl Specials {
    /// The id of the role `name`: `bos`, `eos`, `unk`, `sep`, `pad`, `cls` or `mask`.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.ids[ROLES.iter().position(|role| role.name == name)?]
    }

    /// Give the role `name` an id, unless it has one.
    pub(super) fn set_default(&mut self, name: &str, id: Option<u32>) {
        if let Some(at) = ROLES.iter().position(|role| role.name == name) {
            self.ids[at] = self.ids[at].or(id);
        }
    }

    /// Roles that have an id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static Role, u32)> {
        ROLES.iter().zip(self.ids).filter_map(|(role, id)| Some((role, id?)))
    }

    /// The ids that the folder names: by token first, then by number. `id` finds a token; there are `rows` ids.
    pub(super) fn find(configs: &Configs<'_>, rows: u64, id: impl Fn(&str) -> Option<u32>) -> Specials {
        let mut specials = Specials::default();
        for role in &ROLES {
            let name = format!("{}_token", role.name);
            let number = format!("{name}_id");
            let by_name = [&configs.tokenizer, &configs.map].into_iter().find_map(|c| id(content(&c[&name])?));
            let in_range = |value: &Value| value.as_u64().filter(|id| *id < rows).map(|id| id as u32);
            let by_number = || {
                let candidates = [configs.model, &configs.generation];
                // Of several ways to end a text the first is the id; the others are recognised by their names.
                candidates.into_iter().find_map(|c| in_range(c[&number].get(0).unwrap_or(&c[&number])))
            };
            specials.set_default(role.name, by_name.or_else(by_number));
        }
        specials
    }
}

/// A token in a configuration: `"<s>"` or `{"content": "<s>", ..}`.
fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// The small files that say what tokens are for.
pub(super) struct Configs<'a> {
    /// config.json.
    pub(super) model: &'a Value,
    /// tokenizer_config.json.
    pub(super) tokenizer: Value,
    /// special_tokens_map.json.
    pub(super) map: Value,
    /// generation_config.json.
    pub(super) generation: Value,
    /// Those that are there, config.json aside.
    pub(super) files: Vec<PathBuf>,
}

impl<'a> Configs<'a> {
    /// Read those in `dir`.
    pub(super) fn read(dir: &Path, model: &'a Value) -> Result<Configs<'a>> {
        let mut files = Vec::new();
        let mut read = |name: &str| -> Result<Value> {
            let path = dir.join(name);
            let value = read_value(&path)?;
            if !value.is_null() {
                files.push(path);
            }
            Ok(value)
        };
        let tokenizer = read("tokenizer_config.json")?;
        let map = read("special_tokens_map.json")?;
        let generation = read("generation_config.json")?;
        Ok(Configs { model, tokenizer, map, generation, files })
    }

    /// Whether bos and eos are added: as tokenizer_config.json says, otherwise as the template of `post_processor` does.
    /// bos is never added where there is none: loaders stop at that.
    pub(super) fn adds(
        &self,
        post_processor: &Value,
        special: &Specials,
        id: impl Fn(&str) -> Option<u32>,
    ) -> (Option<bool>, Option<bool>) {
        let template = template(post_processor);
        let is = |end: Option<&Value>, role: &str| {
            let token = end.and_then(|part| part["SpecialToken"]["id"].as_str()).and_then(&id);
            token.is_some() && token == special.get(role)
        };
        let said = |key: &str| self.tokenizer[key].as_bool();
        let from_template = |end: fn(&Vec<Value>) -> Option<&Value>, role| template.map(|parts| is(end(parts), role));
        let bos = said("add_bos_token").or_else(|| from_template(|parts| parts.first(), "bos"));
        let eos = said("add_eos_token").or_else(|| from_template(|parts| parts.last(), "eos"));
        let known = |flag: Option<bool>, role| flag.map(|flag| flag && special.get(role).is_some());
        (known(bos, "bos"), known(eos, "eos"))
    }
}

/// The parts of the first template for single texts.
fn template(post_processor: &Value) -> Option<&Vec<Value>> {
    match post_processor["processors"].as_array() {
        Some(parts) => parts.iter().find_map(template),
        None => post_processor["single"].as_array(),
    }
}
