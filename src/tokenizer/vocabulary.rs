//! Ids to tokens, out of a tokenizer.json: the checks that both kinds of model share.

use ahash::AHashMap;
use std::borrow::Cow;
use std::path::Path;

use super::json::File;
use super::{TokenType, pad_text};
use crate::gguf::Strings;
use crate::{Error, Result};

/// The score of what fills the embedding's rows.
pub(super) const PAD_SCORE: f32 = -10000.0;
/// The score of tokens that were added to a SentencePiece model.
pub(super) const ADDED_SCORE: f32 = -1000.0;

/// Every id with its token.
pub(super) struct Vocabulary<'a> {
    /// By id; `None` where no token has it.
    slots: Vec<Option<(&'a str, TokenType)>>,
    /// By text.
    ids: AHashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    /// The vocabulary of `file` with its added tokens, for an embedding of `rows` rows.
    ///
    /// # Errors
    /// Two tokens with one id, one token with two ids, or an id without a row.
    pub(super) fn new(path: &Path, file: &'a File<'a>, rows: u64) -> Result<Vocabulary<'a>> {
        let highest = file.model.vocab.0.iter().map(|(_, id)| *id).chain(file.added_tokens.iter().map(|t| t.id)).max();
        // A file of n tokens may have ids far beyond n; no more room than the embedding has rows is ever taken.
        let len = u64::from(highest.unwrap_or(0)).saturating_add(1).min(rows) as usize;
        let mut all = Vocabulary { slots: vec![None; len], ids: AHashMap::with_capacity(file.model.vocab.0.len()) };
        for (text, id) in &file.model.vocab.0 {
            all.insert(path, text, *id, TokenType::Normal, rows)?;
        }
        for token in &file.added_tokens {
            let special = token.special || looks_special(&token.content.0);
            let kind = if special { TokenType::Control } else { TokenType::UserDefined };
            all.insert_added(path, &token.content.0, token.id, kind, rows)?;
        }
        Ok(all)
    }

    fn insert(&mut self, path: &Path, text: &'a str, id: u32, kind: TokenType, rows: u64) -> Result<()> {
        let problem = |problem: String| Err(Error::Tokenizer { path: path.to_owned(), problem });
        let Some(slot) = self.slots.get_mut(id as usize) else {
            return problem(format!("token `{text}` has the id {id}, but the embedding has {rows} rows"));
        };
        if let Some((other, _)) = slot {
            return problem(format!("the tokens `{other}` and `{text}` both have the id {id}"));
        }
        *slot = Some((text, kind));
        match self.ids.insert(text, id) {
            Some(other) => problem(format!("token `{text}` has two ids, {other} and {id}")),
            None => Ok(()),
        }
    }

    /// An added token may repeat one of the vocabulary, and then only changes its type.
    fn insert_added(&mut self, path: &Path, text: &'a str, id: u32, kind: TokenType, rows: u64) -> Result<()> {
        match self.slots.get_mut(id as usize) {
            Some(Some((known, old))) if *known == text => {
                *old = kind;
                Ok(())
            }
            _ => self.insert(path, text, id, kind, rows),
        }
    }

    /// The id of `text`.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// True when the token `id` is `left` followed by `right`.
    pub(super) fn is_joined(&self, id: u32, left: &str, right: &str) -> bool {
        let slot = self.slots.get(id as usize).copied().flatten();
        slot.is_some_and(|(text, _)| text.strip_prefix(left) == Some(right))
    }

    /// Change the type of `id`, where it has a token.
    pub(super) fn set_type(&mut self, id: u32, kind: TokenType) {
        if let Some(Some((_, old))) = self.slots.get_mut(id as usize) {
            *old = kind;
        }
    }

    /// Tokens by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'a str, TokenType)> {
        self.slots.iter().enumerate().filter_map(|(id, slot)| slot.map(|(text, kind)| (id as u32, text, kind)))
    }

    /// Texts and types of all `rows` ids; those without a token are padding.
    pub(super) fn finish(
        &self,
        rows: u64,
        respell: impl Fn(&'a str, TokenType) -> Cow<'a, str>,
    ) -> (Strings, Vec<TokenType>) {
        (0..rows as usize)
            .map(|id| match self.slots.get(id) {
                Some(Some((text, kind))) => (respell(text, *kind), *kind),
                _ => (pad_text(id).into(), TokenType::Unused),
            })
            .unzip()
    }
}

/// True for texts that are control tokens by the look of them, whatever the file calls them.
pub(super) fn looks_special(text: &str) -> bool {
    const WHOLE: [&str; 4] = ["<pad>", "<mask>", "<2mass>", "[@BOS@]"];
    const ENDS: [(&str, &str); 3] = [("<|", "|>"), ("<｜", "｜>"), ("<unused", ">")];
    WHOLE.contains(&text) || ENDS.iter().any(|(start, end)| text.starts_with(start) && text.ends_with(end))
}

/// `rows` as a number of tokens that llama.cpp's 32-bit ids can count.
pub(super) fn check_rows(path: &Path, rows: u64) -> Result<()> {
    if i32::try_from(rows).is_ok() {
        return Ok(());
    }
    let problem = format!("an embedding of {rows} rows has more ids than a token can have");
    Err(Error::Tokenizer { path: path.to_owned(), problem })
}
