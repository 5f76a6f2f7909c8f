//! What `generate` wrote.

use crate::generate::{End, Generated};
use crate::model::Computed;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tersor_kernels::Level;

/// A text and how it came about.
#[derive(Debug, Serialize)]
pub struct GenerateReport {
    schema: u32,
    model: PathBuf,
    level: &'static str,
    computed: Computed,
    /// As the model saw it.
    prompt: String,
    text: String,
    prompt_tokens: usize,
    tokens: usize,
    end: End,
    /// Seconds from the start to the first token.
    first: f64,
    /// After the first.
    tokens_per_second: Option<f64>,
}

impl GenerateReport {
    /// What followed `prompt`, which had `prompt_tokens` tokens, is `text`.
    pub fn new(
        model: &Path,
        (prompt, prompt_tokens): (String, usize),
        text: String,
        made: &Generated,
        computed: &Computed,
    ) -> GenerateReport {
        let (first, rest) = (made.first.as_secs_f64(), made.rest.as_secs_f64());
        let after = made.tokens.len().saturating_sub(1);
        GenerateReport {
            schema: crate::SCHEMA,
            model: model.to_owned(),
            level: Level::best().name(),
            computed: computed.clone(),
            prompt,
            text,
            prompt_tokens,
            tokens: made.tokens.len(),
            end: made.end,
            first,
            tokens_per_second: (after > 0 && rest > 0.0).then(|| after as f64 / rest),
        }
    }

    /// How fast it was, in a line.
    pub fn summary(&self) -> String {
        let speed = self.tokens_per_second.map_or(String::new(), |speed| format!(", then {speed:.1} tokens/s"));
        let end = match self.end {
            End::Stop => "the model's end",
            End::Length => "as many as asked for",
            End::Context => "the end of its context",
            End::Cancelled => "interrupted",
        };
        format!(
            "{} of prompt, first token after {:.2} s{speed}; {}: {end}{}\n",
            crate::error::count(self.prompt_tokens, "token"),
            self.first,
            crate::error::count(self.tokens, "token"),
            self.computed.told().map_or(String::new(), |told| format!("; {told}"))
        )
    }
}
