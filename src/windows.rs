//! A text as contexts of token ids.

use crate::error::{Error, Result};
use crate::gguf::{Metadata, Strings};
use crate::source::{Source, read_text};
use crate::tokenizer::{encoder_of, first_token, metadata_of, tokens};
use std::ops::Range;
use std::path::Path;

/// Contexts of one length.
pub struct Windows {
    ids: Vec<u32>,
    /// Tokens of each.
    pub context: usize,
    /// The tokens by id; ids beyond are padding of the embedding.
    vocabulary: Strings,
}

/// What to cut, and how.
pub struct Text<'a> {
    /// A file of UTF-8.
    pub path: &'a Path,
    /// Tokens of a context.
    pub context: usize,
    /// Contexts at most.
    pub chunks: Option<usize>,
}

/// The shortest context of which half can be scored.
const SHORTEST: usize = 4;

impl Windows {
    /// Cut `text` with the tokenizer of `source`.
    ///
    /// # Errors
    /// A tokenizer that cannot be used, or a text shorter than one context.
    pub fn cut(source: &Source, text: &Text<'_>) -> Result<Windows> {
        let usage = |problem: String, hint: &str| Error::Usage { problem, hint: hint.into() };
        if text.context < SHORTEST {
            return Err(usage(format!("a context of {} tokens", text.context), "ask for at least 4"));
        }
        let metadata = metadata_of(source)?;
        let mut ids = encoder_of(source, &metadata)?.encode_whole(&metadata, &read_text(text.path)?)?;
        let found = ids.len() / text.context;
        let count = text.chunks.map_or(found, |chunks| chunks.min(found));
        if count == 0 {
            let problem =
                format!("`{}` has {} tokens, fewer than a context of {}", text.path.display(), ids.len(), text.context);
            return Err(usage(problem, "give a longer text, or a shorter `--ctx`"));
        }
        ids.truncate(count * text.context);
        if let Some(first) = first_token(&metadata) {
            ids.iter_mut().step_by(text.context).for_each(|id| *id = first);
        }
        Ok(Windows { ids, context: text.context, vocabulary: vocabulary(&metadata) })
    }

    /// `ids` of the tokenizer of `source`, cut as they are.
    ///
    /// # Errors
    /// A tokenizer that cannot be used.
    pub fn of(source: &Source, mut ids: Vec<u32>, context: usize) -> Result<Windows> {
        ids.truncate(ids.len() / context * context);
        Ok(Windows { ids, context, vocabulary: vocabulary(&*metadata_of(source)?) })
    }

    /// One after another.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.ids.chunks_exact(self.context)
    }

    /// The ids of some, one after another.
    pub fn some(&self, which: Range<usize>) -> &[u32] {
        &self.ids[which.start * self.context..which.end * self.context]
    }

    /// Tokens of all of them.
    pub fn total(&self) -> u64 {
        self.ids.len() as u64
    }

    /// The places of a context whose predictions are scored: those of its second half, as in llama-perplexity. The last
    /// token predicts one that is not in it.
    pub fn scored(&self) -> Range<usize> {
        self.context / 2..self.context - 1
    }

    /// How many tokens the tokenizer knows.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// [`check_tokens`] for the model `source` that these windows are of.
    ///
    /// # Errors
    /// The first id that differs.
    pub fn check_base(&self, source: &Source, base: &Source) -> Result<()> {
        check(&self.vocabulary, source, base)
    }
}

/// Two models must call the same ids by the same names, or their predictions cannot be compared.
///
/// # Errors
/// The first id that they do not.
pub fn check_tokens(source: &Source, base: &Source) -> Result<()> {
    check(&vocabulary(&*metadata_of(source)?), source, base)
}

/// `ours` are the tokens of `source`.
fn check(ours: &Strings, source: &Source, base: &Source) -> Result<()> {
    let theirs = vocabulary(&*metadata_of(base)?);
    let padding = |text: &str| text.starts_with("[PAD");
    let differ = |(a, b): (&str, &str)| a != b && !(padding(a) && padding(b));
    let Some(id) = ours.iter().zip(theirs.iter()).position(differ) else { return Ok(()) };
    let text = |tokens: &Strings| tokens.iter().nth(id).unwrap_or_default().to_owned();
    let problem = format!(
        "the tokenizers differ: id {id} is `{}` in `{}` and `{}` in `{}`",
        text(ours),
        source.path.display(),
        text(&theirs),
        base.path.display()
    );
    Err(Error::Usage { problem, hint: "compare with the model that it was made from".into() })
}

fn vocabulary(metadata: &Metadata) -> Strings {
    tokens(metadata).cloned().unwrap_or_default()
}
