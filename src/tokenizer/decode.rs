//! Ids to text, as it comes.

use std::path::Path;

use super::metadata::Fields;
use super::rebuilt::byte_characters;
use super::{Model, TokenType, spm_json};
use crate::Result;
use crate::gguf::{Metadata, Strings};

/// Ids to text; borrows the vocabulary of a GGUF.
///
/// A token need not end where a character does, so bytes wait until their character is whole.
pub struct Decoder<'m> {
    model: Model,
    tokens: &'m Strings,
    types: Vec<TokenType>,
    bytes: [char; 256],
    waiting: Vec<u8>,
}

impl<'m> Decoder<'m> {
    /// A decoder out of the keys of the GGUF at `path`.
    ///
    /// # Errors
    /// Keys that do not fit together.
    pub fn new(path: &Path, metadata: &'m Metadata) -> Result<Decoder<'m>> {
        let Fields { model, tokens, types, .. } = Fields::new(path, metadata)?;
        Ok(Decoder { model, tokens, types, bytes: byte_characters(), waiting: Vec::new() })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True when there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The text that `id` completes. Control tokens and ids without a token have none.
    pub fn push(&mut self, id: u32) -> String {
        let kind = self.types.get(id as usize).copied().unwrap_or(TokenType::Unused);
        if matches!(kind, TokenType::Control | TokenType::Unused) {
            return String::new();
        }
        let text = &self.tokens[id as usize];
        match (self.model, kind) {
            (_, TokenType::UserDefined | TokenType::Unknown) => self.waiting.extend_from_slice(text.as_bytes()),
            (_, TokenType::Byte) => self.waiting.extend(spm_json::byte(text)),
            (Model::Llama, _) => self.waiting.extend_from_slice(text.replace('▁', " ").as_bytes()),
            (Model::Gpt2, _) => {
                for c in text.chars() {
                    match self.bytes.iter().position(|known| *known == c) {
                        Some(byte) => self.waiting.push(byte as u8),
                        None => self.waiting.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
            }
        }
        self.whole()
    }

    /// What still waits, with U+FFFD for a character that never came.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.waiting).into_owned();
        self.waiting.clear();
        rest
    }

    /// Take what is whole; bytes that no character has become U+FFFD.
    fn whole(&mut self) -> String {
        let end = match self.waiting.utf8_chunks().last() {
            Some(last) if could_go_on(last.invalid()) => self.waiting.len() - last.invalid().len(),
            _ => self.waiting.len(),
        };
        let rest = self.waiting.split_off(end);
        let text = self.finish();
        self.waiting = rest;
        text
    }
}

/// True for the beginning of a character.
fn could_go_on(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}
