//! The tokenizer of the output against that of the base.

use crate::error::Result;
use crate::gguf::Metadata;
use crate::tokenizer::{self, Encoder, PROBES};
use std::path::Path;

/// Both tokenizers, ready to encode.
pub(super) struct Sides<'m> {
    output: Encoder<'m>,
    base: Encoder<'m>,
    /// Every special token, between words.
    special: Vec<String>,
}

/// Vocabularies may reserve thousands of them; the first ones are those in use.
const MAX_SPECIAL: usize = 256;

impl<'m> Sides<'m> {
    /// `None` when the source has no tokenizer.json, or the output names a pre-tokenizer (`--pre`) whose structure is
    /// not known here.
    pub(super) fn new(
        output: &Path,
        metadata: &'m Metadata,
        reference: impl FnOnce() -> Result<Option<Encoder<'m>>>,
    ) -> Result<Option<Sides<'m>>> {
        if !tokenizer::can_rebuild(metadata) {
            return Ok(None);
        }
        let rebuilt = tokenizer::rebuild(output, metadata);
        let Some(base) = reference()? else { return Ok(None) };
        let special = special_probes(&base);
        Ok(Some(Sides { output: rebuilt?, base, special }))
    }

    /// `None` when the base's tokenizer is none that can be rebuilt.
    pub(super) fn from_gguf(
        output: &Path,
        found: &'m Metadata,
        base: &Path,
        wanted: &'m Metadata,
    ) -> Result<Option<Sides<'m>>> {
        if !tokenizer::can_rebuild(wanted) || !tokenizer::can_rebuild(found) {
            return Ok(None);
        }
        let (output, base) = (tokenizer::rebuild(output, found)?, tokenizer::rebuild(base, wanted)?);
        let special = special_probes(&base);
        Ok(Some(Sides { output, base, special }))
    }

    /// Texts that [`Sides::first_difference`] tries without any from the caller.
    pub(super) fn probes(&self) -> usize {
        PROBES.len() + self.special.len()
    }

    /// The first text that the two cut differently, in words.
    pub(super) fn first_difference<'a>(&'a self, texts: impl Iterator<Item = &'a str>) -> Result<Option<String>> {
        let probes = PROBES.iter().copied().chain(self.special.iter().map(String::as_str)).chain(texts);
        let difference = tokenizer::first_difference(&self.output, &self.base, probes)?;
        Ok(difference.map(describe))
    }
}

fn describe(d: tokenizer::Difference) -> String {
    let around = |ids: &[u32]| format!("{:?}", &ids[d.at.min(ids.len())..(d.at + 4).min(ids.len())]);
    let text: String = d.text.chars().take(60).collect();
    let (left, right) = (around(&d.left), around(&d.right));
    format!("tokenizer: {text:?} becomes {left} at token {}, the base's makes {right} of it", d.at)
}

fn special_probes(base: &Encoder<'_>) -> Vec<String> {
    base.special_tokens().iter().take(MAX_SPECIAL).map(|token| format!("a{token}b {token} c")).collect()
}
