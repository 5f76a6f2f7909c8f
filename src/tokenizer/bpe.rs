//! Byte-level BPE out of tokenizer.json.

use std::path::Path;

use serde_json::Value;

use super::json::{File, Merge};
use super::special::{Configs, Specials};
use super::vocabulary::Vocabulary;
use super::{Model, Tokenizer, pre};
use crate::gguf::Strings;
use crate::{Error, Result};

/// Normalizers that change nothing in text that is composed already. llama.cpp applies none.
const HARMLESS_NORMALIZERS: [&str; 1] = ["NFC"];

/// The tokenizer in `file`; templates and files are the caller's to add.
pub(super) fn from_json(
    path: &Path,
    file: &File<'_>,
    configs: &Configs<'_>,
    rows: u64,
    name: Option<&str>,
) -> Result<Tokenizer> {
    check_model(path, file)?;
    check_normalizer(path, &file.normalizer)?;
    let pre = match name {
        Some(name) => name,
        None => pre::detect(path, &file.pre_tokenizer, file.model.ignore_merges)?,
    };
    let vocabulary = Vocabulary::new(path, file, rows)?;
    let merges = merges(path, &file.model.merges, &vocabulary)?;
    let special = Specials::find(configs, rows, |text| vocabulary.id(text));
    let (tokens, types) = vocabulary.finish(rows, |text, _| text.into());
    let (add_bos, add_eos) = configs.adds(&file.post_processor, &special, |text| vocabulary.id(text));
    Ok(Tokenizer {
        model: Model::Gpt2,
        pre: pre.to_owned(),
        tokens,
        types,
        scores: Vec::new(),
        merges,
        special,
        // llama.cpp begins text with bos by itself for some names, so silence is no answer.
        add_bos: Some(add_bos.unwrap_or(false)),
        add_eos,
        add_space_prefix: Some(false),
        remove_extra_whitespaces: None,
        templates: Vec::new(),
        files: Vec::new(),
    })
}

fn check_model(path: &Path, file: &File<'_>) -> Result<()> {
    let affixes = [
        ("continuing_subword_prefix", &file.model.continuing_subword_prefix),
        ("end_of_word_suffix", &file.model.end_of_word_suffix),
    ];
    for (key, value) in affixes {
        if let Some(text) = value.as_deref().filter(|text| !text.is_empty()) {
            let problem = format!("`model.{key}` is `{text}`, which GGUF has no place for");
            return Err(Error::Tokenizer { path: path.to_owned(), problem });
        }
    }
    Ok(())
}

/// # Errors
/// A normalizer that changes text: a loader of the GGUF would not.
fn check_normalizer(path: &Path, normalizer: &Value) -> Result<()> {
    let kind = normalizer["type"].as_str().unwrap_or_default();
    if normalizer.is_null() || HARMLESS_NORMALIZERS.contains(&kind) {
        return Ok(());
    }
    if let Some(parts) = normalizer["normalizers"].as_array() {
        return parts.iter().try_for_each(|part| check_normalizer(path, part));
    }
    let problem = format!("the normalizer `{kind}` changes text before it is split, and GGUF loaders apply none");
    Err(Error::Tokenizer { path: path.to_owned(), problem })
}

/// `left right` by rank. GGUF separates the two with a space, so that a space inside a part becomes `Ġ`.
fn merges(path: &Path, merges: &[Merge<'_>], vocabulary: &Vocabulary<'_>) -> Result<Strings> {
    let problem = |problem: String| Error::Tokenizer { path: path.to_owned(), problem };
    let mut whole = String::new();
    let mut next = 0;
    let mut lines = Strings::default();
    for (rank, merge) in merges.iter().enumerate() {
        let (left, right) = merge.parts().ok_or_else(|| problem(format!("merge {rank} is not two tokens")))?;
        // Ids of results mostly have the order of the ranks, which saves a search in a large table.
        let id = if vocabulary.is_joined(next, left, right) {
            Some(next)
        } else {
            whole.clear();
            whole.extend([left, right]);
            vocabulary.id(&whole)
        };
        let parts = [left, right].into_iter().find(|text| vocabulary.id(text).is_none());
        if let Some(missing) = parts.or(id.is_none().then_some(&whole)) {
            let what = format!("merge {rank}, `{left}` + `{right}`, names `{missing}`, which is no token");
            return Err(problem(what));
        }
        next = id.unwrap_or_default().wrapping_add(1);
        if left.contains(' ') || right.contains(' ') {
            lines.push(&[&left.replace(' ', "Ġ"), " ", &right.replace(' ', "Ġ")]);
        } else {
            lines.push(&[left, " ", right]);
        }
    }
    Ok(lines)
}
