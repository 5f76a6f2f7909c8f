//! What a model writes, beside what was hoped for.

use super::bleu::Bleu;
use super::rouge::{Rouge, rouge};
use super::score::{Estimate, percent};
use super::tasks::Lines;
use crate::arch::Count;
use crate::error::{Error, Result};
use crate::generate::{End, Request, Sampling, generate};
use crate::gguf::Metadata;
use crate::model::Model;
use crate::progress::{Progress, Silent};
use crate::source::Source;
use crate::tokenizer::{Decoder, encoder_of, last_tokens, metadata_of};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How close the texts are to their references.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenScores {
    /// Prompts, each with a text.
    pub prompts: usize,
    /// Mean F-measure of shared words, in percent.
    pub rouge1: Estimate,
    /// Of shared pairs of words.
    pub rouge2: Estimate,
    /// Of the longest common subsequence.
    pub rouge_l: Estimate,
    /// Of all texts together, 0 to 100.
    pub bleu: f64,
    /// How the figures are made.
    pub signatures: [&'static str; 2],
    /// What was written.
    pub texts: Vec<String>,
}

const SIGNATURES: [&str; 2] =
    ["rouge|refs:best|case:lc|tok:a-z0-9|stem:no|mean:f", "bleu|case:mixed|eff:no|tok:13a|smooth:exp"];

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: String,
    reference: OneOrMore,
    #[serde(default)]
    stop: OneOrMore,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> OneOrMore {
        OneOrMore::More(Vec::new())
    }
}

impl From<OneOrMore> for Vec<String> {
    fn from(texts: OneOrMore) -> Vec<String> {
        match texts {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        }
    }
}

/// Prompts as token ids, and what is hoped for.
pub struct Prompts {
    /// Of the model.
    path: PathBuf,
    metadata: Metadata,
    prompts: Vec<Prompt>,
    tokens: usize,
}

struct Prompt {
    ids: Vec<u32>,
    references: Vec<String>,
    stop: Vec<String>,
}

impl Prompts {
    /// The file at `path`: JSON in each line, with `prompt`, `reference` (a text or a list of them), and, if the text ends
    /// before one, `stop` (the same). Each text gets `tokens` tokens at most.
    ///
    /// # Errors
    /// A file of another kind, or a prompt that is longer than the model takes.
    pub fn read(path: &Path, source: &Source, tokens: usize) -> Result<Prompts> {
        const WANTED: &str = "{\"prompt\": .., \"reference\": ..}";
        let metadata = metadata_of(source)?.into_owned();
        let context = source.settings()?[Count::Context] as usize;
        let mut prompts = Vec::new();
        let lines = Lines::read(path.to_owned())?;
        let encoder = encoder_of(source, &metadata)?;
        for (n, line) in lines.json::<Line>(WANTED)? {
            let ids = encoder.encode_whole(&metadata, &line.prompt)?;
            if ids.is_empty() || ids.len() >= context {
                let wanted = format!("a prompt of 1 to {} tokens, as the model takes them", context - 1);
                return Err(lines.wrong(n, format!("{} tokens", ids.len()), &wanted));
            }
            let (references, stop): (Vec<String>, Vec<String>) = (line.reference.into(), line.stop.into());
            if references.is_empty() || stop.iter().any(String::is_empty) {
                return Err(lines.wrong(n, "no reference, or an empty stop", WANTED));
            }
            prompts.push(Prompt { ids, references, stop });
        }
        if prompts.is_empty() {
            return Err(Error::malformed(path, "file", "no line", WANTED));
        }
        drop(encoder);
        Ok(Prompts { path: source.path.clone(), metadata, prompts, tokens })
    }

    /// Tokens at most.
    pub fn total(&self) -> u64 {
        (self.prompts.len() * self.tokens) as u64
    }

    /// Let `model` write after each prompt, always the most likely token. `progress` hears of tokens.
    ///
    /// # Errors
    /// Predictions that are not numbers, [`Error::Interrupted`].
    pub fn write(&self, model: &Model, progress: &dyn Progress) -> Result<WrittenScores> {
        let (mut rouges, mut bleu, mut texts) = (Vec::new(), Bleu::default(), Vec::new());
        let mut decoder = Decoder::new(&self.path, &self.metadata)?;
        let last = last_tokens(&self.metadata);
        for prompt in &self.prompts {
            let text = self.text(model, prompt, &mut decoder, &last, progress)?;
            let text = text.trim();
            rouges.push(rouge(text, &prompt.references));
            bleu.add(text, &prompt.references);
            texts.push(text.to_owned());
        }
        let percent = |of: fn(&Rouge) -> f64| percent(&rouges.iter().map(of).collect::<Vec<f64>>());
        Ok(WrittenScores {
            prompts: self.prompts.len(),
            rouge1: percent(|r| r.rouge1),
            rouge2: percent(|r| r.rouge2),
            rouge_l: percent(|r| r.rouge_l),
            bleu: bleu.score(),
            signatures: SIGNATURES,
            texts,
        })
    }

    fn text(
        &self,
        model: &Model,
        prompt: &Prompt,
        decoder: &mut Decoder<'_>,
        last: &[u32],
        progress: &dyn Progress,
    ) -> Result<String> {
        let request = Request {
            prompt: &prompt.ids,
            tokens: self.tokens,
            sampling: Sampling::GREEDY,
            last,
            vocabulary: decoder.len(),
        };
        let mut text = String::new();
        let mut written = 0;
        let made = generate(model, &request, &Silent, &mut |id| {
            text += &decoder.push(id);
            written += 1;
            progress.advance(1);
            !progress.cancelled() && !prompt.stop.iter().any(|stop| text.contains(stop))
        })?;
        if made.end == End::Cancelled && progress.cancelled() {
            return Err(Error::Interrupted);
        }
        progress.advance((self.tokens - written) as u64);
        text += &decoder.finish();
        let end = prompt.stop.iter().filter_map(|stop| text.find(stop)).min();
        text.truncate(end.unwrap_or(text.len()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read_text;

    #[derive(Deserialize)]
    struct Golden {
        corpus_bleu: f64,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        text: String,
        references: Vec<String>,
        rouge: [f64; 3],
        bleu: f64,
    }

    /// What PyPI rouge-score and sacrebleu find is in fixtures/golden.
    #[test]
    fn figures_are_those_of_rouge_score_and_sacrebleu() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/overlap.json");
        let golden: Golden = serde_json::from_str(&read_text(&path).unwrap()).unwrap();
        let mut corpus = Bleu::default();
        for case in &golden.cases {
            let found = rouge(&case.text, &case.references);
            for (found, wanted) in [found.rouge1, found.rouge2, found.rouge_l].iter().zip(case.rouge) {
                assert!((found - wanted).abs() < 1e-12, "{found} and {wanted} for {}", case.text);
            }
            let mut bleu = Bleu::default();
            bleu.add(&case.text, &case.references);
            assert!((bleu.score() - case.bleu).abs() < 1e-9, "{} and {} for {}", bleu.score(), case.bleu, case.text);
            corpus.add(&case.text, &case.references);
        }
        assert!((corpus.score() - golden.corpus_bleu).abs() < 1e-9);
    }
}
