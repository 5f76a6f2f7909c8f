//! SentencePiece BPE out of a tokenizer.json of the Llama 2 kind: BPE with byte fallback over text whose spaces are `▁`.

use ahash::AHashMap;
use std::path::Path;

use serde_json::Value;

use super::json::File;
use super::special::{Configs, Specials};
use super::vocabulary::{ADDED_SCORE, PAD_SCORE, Vocabulary};
use super::{Model, TokenType, Tokenizer, spm};
use crate::gguf::Strings;
use crate::{Error, Result};

/// The tokenizer in `file`; templates and files are the caller's to add.
pub(super) fn from_json(path: &Path, file: &File<'_>, configs: &Configs<'_>, rows: u64) -> Result<Tokenizer> {
    let add_space_prefix = adds_space(path, file)?;
    let mut vocabulary = Vocabulary::new(path, file, rows)?;
    let bytes: Vec<u32> = vocabulary.iter().filter(|(_, text, _)| byte(text).is_some()).map(|(id, ..)| id).collect();
    bytes.into_iter().for_each(|id| vocabulary.set_type(id, TokenType::Byte));
    let unknown = file.model.unk_token.as_ref().and_then(|text| vocabulary.id(&text.0));
    if let Some(id) = unknown {
        vocabulary.set_type(id, TokenType::Unknown);
    }
    let scores = scores(path, file, &vocabulary, rows)?;
    let mut special = Specials::find(configs, rows, |text| vocabulary.id(text));
    special.set_default("unk", unknown);
    let (add_bos, add_eos) = configs.adds(&file.post_processor, &special, |text| vocabulary.id(text));
    let (tokens, types) = vocabulary.finish(rows, |text, kind| spm::spell(text, kind).into());
    Ok(Tokenizer {
        model: Model::Llama,
        pre: "default".into(),
        tokens,
        types,
        scores,
        merges: Strings::default(),
        special,
        add_bos,
        add_eos,
        add_space_prefix: Some(add_space_prefix),
        remove_extra_whitespaces: None,
        templates: Vec::new(),
        files: Vec::new(),
    })
}

/// The byte of `<0x0A>`.
pub(super) fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A score per id. Merges go by rank and SentencePiece by the score of the result, so earlier results score higher.
fn scores(path: &Path, file: &File<'_>, vocabulary: &Vocabulary<'_>, rows: u64) -> Result<Vec<f32>> {
    let problem = |problem: String| Error::Tokenizer { path: path.to_owned(), problem };
    let mut first_rank: AHashMap<u32, usize> = AHashMap::new();
    let (mut ascending, mut last) = (true, 0);
    for (rank, merge) in file.model.merges.iter().enumerate() {
        let (left, right) = merge.parts().ok_or_else(|| problem(format!("merge {rank} is not two tokens")))?;
        let whole = left.to_owned() + right;
        let missing = [left, right, &whole].into_iter().find(|text| vocabulary.id(text).is_none());
        if let Some(missing) = missing {
            let what = format!("merge {rank}, `{left}` + `{right}`, names `{missing}`, which is no token");
            return Err(problem(what));
        }
        let id = vocabulary.id(&whole).unwrap_or_default();
        first_rank.entry(id).or_insert(rank);
        ascending &= id >= last;
        last = id;
    }
    let mut scores = vec![PAD_SCORE; rows as usize];
    for (id, _, kind) in vocabulary.iter() {
        scores[id as usize] = match kind {
            TokenType::Byte | TokenType::Unknown => 0.0,
            TokenType::Control | TokenType::UserDefined => ADDED_SCORE,
            // In the usual file ids are ranks already, and llama.cpp's converter takes them so.
            _ if ascending => -(id as f32),
            _ => -(first_rank.get(&id).copied().unwrap_or(file.model.merges.len()) as f32),
        };
    }
    Ok(scores)
}

/// Whether text begins with a space that is not there.
///
/// # Errors
/// A normalizer or pre-tokenizer that does more than mark spaces with `▁`.
fn adds_space(path: &Path, file: &File<'_>) -> Result<bool> {
    let (mut adds, mut marks) = (false, false);
    for part in parts(&file.normalizer, "normalizers").into_iter().chain(parts(&file.pre_tokenizer, "pretokenizers")) {
        match part["type"].as_str().unwrap_or_default() {
            "Prepend" if part["prepend"] == "▁" => adds = true,
            "Replace" if part["pattern"]["String"] == " " && part["content"] == "▁" => marks = true,
            "Metaspace" if part["replacement"] == "▁" && part["split"] != Value::Bool(true) => {
                marks = true;
                let scheme = part["prepend_scheme"].as_str();
                adds |= scheme.map_or(part["add_prefix_space"] != Value::Bool(false), |scheme| scheme != "never");
            }
            // No space is left to split at.
            "Split" if part["pattern"]["String"] == " " && marks => {}
            kind => {
                let problem = format!("`{kind}` does more to text than marking spaces, and GGUF loaders do no more");
                return Err(Error::Tokenizer { path: path.to_owned(), problem });
            }
        }
    }
    if marks {
        return Ok(adds);
    }
    let problem = "neither byte-level BPE nor BPE over text whose spaces are marked with `▁`".to_owned();
    Err(Error::Tokenizer { path: path.to_owned(), problem })
}

/// The parts of a sequence, or the thing itself.
fn parts<'v>(value: &'v Value, list: &str) -> Vec<&'v Value> {
    match value[list].as_array() {
        Some(inner) => inner.iter().flat_map(|part| parts(part, list)).collect(),
        None if value.is_null() => Vec::new(),
        None => vec![value],
    }
}
