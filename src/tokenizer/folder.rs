//! The tokenizer of a Hugging Face folder.

use std::path::Path;

use serde_json::Value;

use super::json::{self, File, read_text, read_value};
use super::special::Configs;
use super::{Tokenizer, bpe, pre, spm, spm_json, template, vocabulary};
use crate::{Error, Result};

/// What the user may say about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// `--pre`: the pre-tokenizer, instead of the one that the structure names.
    pub pre: Option<&'a str>,
    /// `--chat-template`: a file with the chat template, instead of the folder's.
    pub chat_template: Option<&'a Path>,
}

/// The tokenizer of the folder `dir` with the configuration `config`, for an embedding of `rows` rows.
///
/// Every id up to `rows` gets a token, so `rows` is to come from the tensor, which the size of its file bounds.
///
/// A byte-level tokenizer.json comes first, then tokenizer.model, then a tokenizer.json with byte fallback.
///
/// # Errors
/// No tokenizer, one that GGUF cannot hold, one that contradicts itself, or a pre-tokenizer without a name.
pub fn from_folder(dir: &Path, config: &Value, rows: u64, options: &Options<'_>) -> Result<Tokenizer> {
    if let Some(name) = options.pre {
        pre::check_name(name)?;
    }
    vocabulary::check_rows(dir, rows)?;
    let configs = Configs::read(dir, config)?;
    let json_path = dir.join("tokenizer.json");
    let text = read_text(&json_path)?;
    let file = text.as_deref().map(|text| json::parse(&json_path, text)).transpose()?;
    let model_path = dir.join("tokenizer.model");
    let mut files = Vec::new();
    let mut tokenizer = match &file {
        Some(file) if pre::is_byte_level(&file.pre_tokenizer) => {
            check_kind(&json_path, file)?;
            bpe::from_json(&json_path, file, &configs, rows, options.pre)?
        }
        _ if model_path.is_file() => {
            let bytes = crate::source::read_bytes(&model_path)?;
            let added_path = dir.join("added_tokens.json");
            let added = read_value(&added_path)?;
            if !added.is_null() {
                files.push(added_path);
            }
            let tokens = added_tokens(&added, &configs.tokenizer, file.as_ref());
            let tokenizer = spm::from_model(&model_path, &bytes, &configs, &tokens, rows)?;
            files.push(model_path);
            tokenizer
        }
        Some(file) => {
            check_kind(&json_path, file)?;
            from_other_json(&json_path, file, &configs, rows, options.pre)?
        }
        None => {
            let problem = "there is neither tokenizer.json nor tokenizer.model".to_owned();
            return Err(Error::Tokenizer { path: dir.to_owned(), problem });
        }
    };
    if text.is_some() {
        files.push(json_path);
    }
    files.extend_from_slice(&configs.files);
    tokenizer.templates = template::read(dir, options.chat_template, &configs.tokenizer, &mut files)?;
    tokenizer.files = files;
    Ok(tokenizer)
}

/// A file that does not spell text in bytes: of the Llama 2 kind, or split in a way that has no name.
fn from_other_json(
    path: &Path,
    file: &File<'_>,
    configs: &Configs<'_>,
    rows: u64,
    name: Option<&str>,
) -> Result<Tokenizer> {
    match name {
        _ if file.model.byte_fallback => spm_json::from_json(path, file, configs, rows),
        Some(_) => bpe::from_json(path, file, configs, rows, name),
        None => {
            // It has no name, or else it would spell text in bytes.
            pre::detect(path, &file.pre_tokenizer, file.model.ignore_merges)?;
            bpe::from_json(path, file, configs, rows, name)
        }
    }
}

/// # Errors
/// A model that is not BPE. Old files name no type; theirs are told by the merges.
fn check_kind(path: &Path, file: &File<'_>) -> Result<()> {
    let kind = file.model.kind.as_ref().map_or("BPE", |text| &*text.0);
    if kind == "BPE" {
        return Ok(());
    }
    let problem = format!("a tokenizer of the type {kind}, of which only BPE can be written to GGUF");
    Err(Error::Tokenizer { path: path.to_owned(), problem })
}

/// Tokens that stand beside tokenizer.model: id, text, special. Later ones replace earlier ones.
fn added_tokens(added: &Value, tokenizer_config: &Value, file: Option<&File<'_>>) -> Vec<(u64, String, bool)> {
    let by_text =
        added.as_object().into_iter().flatten().filter_map(|(text, id)| Some((id.as_u64()?, text.clone(), false)));
    let by_id = tokenizer_config["added_tokens_decoder"].as_object().into_iter().flatten().filter_map(|(id, token)| {
        Some((id.parse().ok()?, token["content"].as_str()?.to_owned(), token["special"] == Value::Bool(true)))
    });
    let in_json = file.into_iter().flat_map(|file| &file.added_tokens);
    let in_json = in_json.map(|token| (token.id.into(), token.content.0.clone().into_owned(), token.special));
    by_text.chain(in_json).chain(by_id).collect()
}
