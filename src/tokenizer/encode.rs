//! Text to ids, as a loader of the GGUF does it and as tokenizer.json says.

use std::path::{Path, PathBuf};

use tokenizers::ModelWrapper;

use super::metadata::first_token;
use super::rebuilt::Rebuilt;
use super::reference::{Bpe, WithModel};
use crate::gguf::Metadata;
use crate::{Error, Result};

/// Text to ids; borrows the vocabulary of a GGUF.
pub struct Encoder<'m> {
    path: PathBuf,
    kind: Kind<'m>,
}

enum Kind<'m> {
    Rebuilt(Box<Rebuilt<'m>>),
    Bpe(Box<WithModel<Bpe>>),
    Other(Box<WithModel<ModelWrapper>>),
}

/// An encoder out of the keys of the GGUF at `path`, and nothing else.
///
/// Where llama.cpp approximates a family's split patterns, this takes the family's own.
///
/// # Errors
/// Keys that do not fit together, or a pre-tokenizer whose structure is not known here.
pub fn rebuild<'m>(path: &Path, metadata: &'m Metadata) -> Result<Encoder<'m>> {
    Ok(Encoder { path: path.to_owned(), kind: Kind::Rebuilt(Box::new(Rebuilt::new(path, metadata)?)) })
}

/// True when [`rebuild`] knows how the tokenizer in `metadata` splits text: a SentencePiece model, or a pre-tokenizer whose
/// structure is in the table. llama.cpp knows more names than tersor knows structures.
pub fn can_rebuild(metadata: &Metadata) -> bool {
    match metadata.text("tokenizer.ggml.model") {
        Some("llama") => true,
        Some("gpt2") => metadata.text("tokenizer.ggml.pre").is_some_and(|name| super::pre::find(name).is_some()),
        _ => false,
    }
}

/// The encoder that tokenizer.json in `dir` describes, run by the `tokenizers` crate; `None` when there is none.
///
/// # Errors
/// A file that the crate does not read.
pub fn reference(dir: &Path) -> Result<Option<Encoder<'static>>> {
    let path = dir.join("tokenizer.json");
    let Some(text) = super::json::read_text(&path)? else { return Ok(None) };
    let problem = |error: tokenizers::Error| Error::Tokenizer { path: path.clone(), problem: error.to_string() };
    // Cutting and filling up to a length are no part of what is compared.
    let kind = match serde_json::from_str::<WithModel<Bpe>>(&text) {
        Ok(mut tokenizer) => {
            tokenizer.with_truncation(None).map_err(problem)?.with_padding(None);
            Kind::Bpe(Box::new(tokenizer))
        }
        Err(_) => {
            let mut tokenizer: WithModel<ModelWrapper> =
                serde_json::from_str(&text).map_err(|error| problem(error.into()))?;
            tokenizer.with_truncation(None).map_err(problem)?.with_padding(None);
            Kind::Other(Box::new(tokenizer))
        }
    };
    Ok(Some(Encoder { path, kind }))
}

impl Encoder<'_> {
    /// The ids of `text`. Special tokens in it are parsed; neither bos nor eos is added.
    ///
    /// # Errors
    /// Text that the `tokenizers` crate refuses.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = match &self.kind {
            Kind::Rebuilt(rebuilt) => return Ok(rebuilt.encode(text)),
            Kind::Bpe(tokenizer) => tokenizer.encode_fast(text, false),
            Kind::Other(tokenizer) => tokenizer.encode_fast(text, false),
        };
        let problem =
            |error: tokenizers::Error| Error::Tokenizer { path: self.path.clone(), problem: error.to_string() };
        Ok(encoding.map_err(problem)?.get_ids().to_vec())
    }

    /// The ids of a text that stands alone: before them comes the token with which `metadata`, the keys of this tokenizer, lets
    /// every text begin.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub fn encode_whole(&self, metadata: &Metadata, text: &str) -> Result<Vec<u32>> {
        let mut ids: Vec<u32> = first_token(metadata).into_iter().collect();
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// Tokens that are matched in text before it is split, by id.
    pub fn special_tokens(&self) -> Vec<String> {
        let added = match &self.kind {
            Kind::Rebuilt(rebuilt) => {
                let mut tokens: Vec<(u32, &str)> = rebuilt.special_tokens().collect();
                tokens.sort_unstable();
                return tokens.into_iter().map(|(_, text)| text.to_owned()).collect();
            }
            Kind::Bpe(tokenizer) => tokenizer.get_added_tokens_decoder(),
            Kind::Other(tokenizer) => tokenizer.get_added_tokens_decoder(),
        };
        let mut tokens: Vec<(u32, String)> = added.into_iter().map(|(id, token)| (id, token.content)).collect();
        tokens.sort_unstable();
        tokens.into_iter().map(|(_, text)| text).collect()
    }
}
