//! The model of the `tokenizers` crate out of a parse of our own: the crate's takes three times as long, most of it for
//! merges that may have either spelling. What is not BPE, or not told as here, is left to the crate's own parse.
//!
//! What follows the model takes no part in text to ids and is passed over.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{Decoder, Encoding, Model, NormalizedString, NormalizerWrapper, PostProcessor, Result, Token};
use tokenizers::{PreTokenizerWrapper, TokenizerImpl};

use super::json::{Merge, Text, Vocab};

/// The crate's tokenizer over a model that is known: a file is read in a third less time than when any may come.
pub(super) type WithModel<M> = TokenizerImpl<M, Normalizer, PreTokenizerWrapper, Unread, Unread>;

/// A post-processor or decoder that was passed over.
#[derive(Debug)]
pub(super) struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Unread, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Unread)
    }
}

impl PostProcessor for Unread {
    fn added_tokens(&self, _: bool) -> usize {
        0
    }

    fn process_encodings(&self, encodings: Vec<Encoding>, _: bool) -> Result<Vec<Encoding>> {
        Ok(encodings)
    }
}

impl Decoder for Unread {
    fn decode_chain(&self, tokens: Vec<String>) -> Result<Vec<String>> {
        Ok(tokens)
    }
}

/// The crate's normalizer. The crate panics over a `Precompiled` one that is malformed; no kind of tokenizer that GGUF can
/// hold has one.
#[derive(Debug)]
pub(super) struct Normalizer(NormalizerWrapper);

impl<'de> Deserialize<'de> for Normalizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Normalizer, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if has_precompiled(&value) {
            return Err(D::Error::custom("a normalizer of the type Precompiled, which cannot be compared"));
        }
        serde_json::from_value(value).map(Normalizer).map_err(D::Error::custom)
    }
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> Result<()> {
        self.0.normalize(text)
    }
}

/// In it, or in a sequence of it. The depth of `value` is bounded by its parser.
fn has_precompiled(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("type").is_some_and(|kind| kind == "Precompiled") || fields.values().any(has_precompiled)
        }
        Value::Array(items) => items.iter().any(has_precompiled),
        _ => false,
    }
}

/// The crate's BPE. Everything but the reading is its own.
#[derive(Debug)]
pub(super) struct Bpe(BPE);

/// `model` with the fields that the crate reads; others it passes over as well.
#[derive(serde::Deserialize)]
struct Fields<'a> {
    /// Old files have none.
    #[serde(rename = "type", borrow, default = "bpe")]
    kind: Text<'a>,
    #[serde(borrow)]
    vocab: Vocab<'a>,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

fn bpe() -> Text<'static> {
    Text("BPE".into())
}

impl<'de> Deserialize<'de> for Bpe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Bpe, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        let joined = fields.merges.iter().filter(|merge| matches!(merge, Merge::Joined(_))).count();
        if fields.kind.0 != "BPE" || fields.vocab.0.is_empty() || joined != 0 && joined != fields.merges.len() {
            return Err(D::Error::custom("no BPE with merges of one spelling"));
        }
        let mut merges = Vec::with_capacity(fields.merges.len());
        for merge in fields.merges {
            merges.push(match merge {
                Merge::Pair(left, right) => (left.into_owned(), right.into_owned()),
                // In merges.txt this line names the version, and the crate skips it here as well.
                Merge::Joined(text) if text.starts_with("#version") => continue,
                Merge::Joined(text) => {
                    let mut parts = text.split(' ').map(str::to_owned);
                    match (parts.next(), parts.next(), parts.next()) {
                        (Some(left), Some(right), None) => (left, right),
                        _ => return Err(D::Error::custom("a merge that is not two tokens")),
                    }
                }
            });
        }
        let vocab = fields.vocab.0.into_iter().map(|(text, id)| (text.into_owned(), id));
        let mut bpe = BPE::builder().vocab_and_merges(vocab.collect::<ahash::AHashMap<String, u32>>(), merges);
        if let Some(prefix) = fields.continuing_subword_prefix {
            bpe = bpe.continuing_subword_prefix(prefix);
        }
        if let Some(dropout) = fields.dropout {
            bpe = bpe.dropout(dropout);
        }
        let mut bpe = bpe.build().map_err(D::Error::custom)?;
        bpe.unk_token = fields.unk_token;
        bpe.end_of_word_suffix = fields.end_of_word_suffix;
        bpe.fuse_unk = fields.fuse_unk.unwrap_or(false);
        bpe.byte_fallback = fields.byte_fallback.unwrap_or(false);
        bpe.ignore_merges = fields.ignore_merges.unwrap_or(false);
        Ok(Bpe(bpe))
    }
}

impl Model for Bpe {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        self.0.tokenize(sequence)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.id_to_token(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        Model::get_vocab(&self.0)
    }

    fn get_vocab_size(&self) -> usize {
        self.0.get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        self.0.save(folder, prefix)
    }

    fn get_trainer(&self) -> BpeTrainer {
        self.0.get_trainer()
    }
}
