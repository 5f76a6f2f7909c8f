//! Tokenizers: what stands under `tokenizer.` in a GGUF, from a Hugging Face folder and back.
//!
//! Two kinds can be carried over: byte-level BPE (`gpt2`) from tokenizer.json, and SentencePiece BPE (`llama`) from
//! tokenizer.model or a tokenizer.json with byte fallback. [`rebuild`] makes an encoder from the keys alone, and
//! [`reference()`] one from tokenizer.json, so that [`first_difference`] can tell whether they agree. [`Decoder`] goes the
//! other way.

mod bpe;
mod chat;
mod decode;
mod encode;
mod files;
mod folder;
mod json;
mod merge;
mod metadata;
mod pre;
mod pre_table;
mod probes;
mod protobuf;
mod rebuilt;
mod reference;
mod source;
mod special;
mod spm;
mod spm_json;
mod template;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use chat::{Message, chat};
pub use decode::Decoder;
pub use encode::{Encoder, can_rebuild, rebuild, reference};
pub use folder::{Options, from_folder};
pub use metadata::{first_token, from_metadata, last_tokens, tokens};
pub use probes::{Difference, PROBES, first_difference};
pub use source::{encoder_of, metadata_of};
pub use special::Specials;
pub use template::Template;

use crate::gguf::Strings;
use std::path::PathBuf;

/// The algorithm, `tokenizer.ggml.model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Byte-level BPE with merges.
    Gpt2,
    /// SentencePiece BPE with scores.
    Llama,
}

impl Model {
    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Model::Gpt2 => "gpt2",
            Model::Llama => "llama",
        }
    }
}

/// What a token is for, as `tokenizer.ggml.token_type` stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// A piece of text.
    Normal = 1,
    /// Stands for what has no token.
    Unknown = 2,
    /// Marks structure: never printed, parsed only where special tokens are asked for.
    Control = 3,
    /// Added by people; matched in text before anything else.
    UserDefined = 4,
    /// Fills the embedding's rows.
    Unused = 5,
    /// One byte, `<0x0A>`.
    Byte = 6,
}

impl TokenType {
    /// All of them, by number.
    const ALL: [TokenType; 6] = [
        TokenType::Normal,
        TokenType::Unknown,
        TokenType::Control,
        TokenType::UserDefined,
        TokenType::Unused,
        TokenType::Byte,
    ];

    /// The type with this number; numbers without one load as normal tokens.
    fn from_number(number: i32) -> TokenType {
        TokenType::ALL.into_iter().find(|kind| *kind as i32 == number).unwrap_or(TokenType::Normal)
    }

    /// True for tokens that are cut out of the text before it is split.
    fn is_matched_first(self) -> bool {
        matches!(self, TokenType::Unknown | TokenType::Control | TokenType::UserDefined)
    }
}

/// Everything that goes under `tokenizer.` in a GGUF, as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenizer {
    /// The algorithm.
    pub model: Model,
    /// `tokenizer.ggml.pre`: how text is split before merging.
    pub pre: String,
    /// Text per id. Byte-level tokens are spelled in GPT-2's characters, SentencePiece's with `▁` for a space.
    pub tokens: Strings,
    /// Purpose per id.
    pub types: Vec<TokenType>,
    /// Score per id, for [`Model::Llama`]; otherwise empty.
    pub scores: Vec<f32>,
    /// `left right` by rank, for [`Model::Gpt2`]; otherwise empty.
    pub merges: Strings,
    /// Ids with a purpose.
    pub special: Specials,
    /// Begin every text with the bos token.
    pub add_bos: Option<bool>,
    /// End every text with the eos token.
    pub add_eos: Option<bool>,
    /// Begin text with a space.
    pub add_space_prefix: Option<bool>,
    /// Join runs of spaces.
    pub remove_extra_whitespaces: Option<bool>,
    /// Chat templates, the default one under the name `default`.
    pub templates: Vec<Template>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// The text of a padding token.
fn pad_text(id: usize) -> String {
    format!("[PAD{id}]")
}
