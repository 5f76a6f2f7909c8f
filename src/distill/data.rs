//! Texts as sequences to learn from.

use crate::arch::Count;
use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::gguf::Strings;
use crate::source::{Source, read_text};
use crate::tokenizer::{encoder_of, metadata_of, tokens};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Tokens of all texts, one after another.
pub struct Tokens {
    ids: Vec<u32>,
    context: usize,
    vocabulary: usize,
}

impl Tokens {
    /// Read `files`: a `.jsonl` has a text in `field` of each line, anything else is one text. Each begins as the tokenizer
    /// of `source` lets texts begin, and ends with its end of text.
    ///
    /// # Errors
    /// Files that cannot be read, lines without the field, a tokenizer that cannot be used, or texts shorter than a context.
    pub fn read(source: &Source, files: &[PathBuf], field: &str, context: usize) -> Result<Tokens> {
        let metadata = metadata_of(source)?;
        let encoder = encoder_of(source, &metadata)?;
        let end = metadata.count("tokenizer.ggml.eos_token_id").map(|id| id as u32);
        let mut ids = Vec::new();
        for path in files {
            for text in texts(path, field)? {
                ids.extend(encoder.encode_whole(&metadata, &text)?);
                ids.extend(end);
            }
        }
        if ids.len() <= context {
            let problem = format!("the training texts have {} tokens, no more than a context of {context}", ids.len());
            return Err(Error::Usage { problem, hint: "give more `--train` files, or a shorter `--ctx`".into() });
        }
        let rows = source.settings()?[Count::Vocab];
        if let Some(id) = ids.iter().find(|id| u64::from(**id) >= rows) {
            let problem = format!("the tokenizer gives the token {id}, but the model has {rows}");
            return Err(Error::Usage { problem, hint: "use the model's own tokenizer".into() });
        }
        let vocabulary = tokens(&metadata).map_or(0, Strings::len);
        Ok(Tokens { ids, context, vocabulary })
    }

    /// How many tokens the tokenizer knows; ids beyond are padding of an embedding.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Tokens of a sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens of all texts.
    pub fn total(&self) -> usize {
        self.ids.len()
    }

    /// What tells these tokens from others.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        self.ids.iter().for_each(|id| _ = hasher.update(&id.to_le_bytes()));
        hasher.update(&(self.context as u64).to_le_bytes()).finalize().to_hex().to_string()
    }

    /// Sequences that follow each other without a gap.
    pub fn sequences(&self) -> usize {
        (self.ids.len() - 1) / self.context
    }

    /// Sequence `n` of them: inputs, and the token after each.
    pub fn fixed(&self, n: usize) -> (&[u32], &[u32]) {
        let at = n * self.context;
        (&self.ids[at..at + self.context], &self.ids[at + 1..at + 1 + self.context])
    }

    /// The numbers of the sequences of batch `step`, of `count` each: every pass has each of [`Tokens::fixed`] once, shuffled
    /// anew by `seed` alone.
    pub fn drawn(&self, seed: u64, step: u64, count: usize) -> Vec<usize> {
        let all = self.sequences() as u64;
        let numbers = step * count as u64..(step + 1) * count as u64;
        numbers.map(|n| permuted(n % all, all, seed ^ (n / all)) as usize).collect()
    }

    /// The sequences of batch `step`, of `count` each: inputs, and the token after each of them. Every pass over the texts is
    /// cut at another place and shuffled anew, by `seed` alone.
    pub fn batch(&self, seed: u64, step: u64, count: usize) -> (Vec<u32>, Vec<u32>) {
        // A token after the last one is needed too, and the cut may be anywhere in the first context.
        let whole = self.sequences() as u64;
        let pass = if whole > 1 { whole - 1 } else { 1 };
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for n in step * count as u64..(step + 1) * count as u64 {
            let (epoch, place) = (n / pass, n % pass);
            let room = self.ids.len() - 1 - pass as usize * self.context;
            let shift = Chance(seed ^ epoch.wrapping_mul(0x9e37_79b9)).below(room as u64 + 1);
            let start = shift as usize + permuted(place, pass, seed ^ epoch) as usize * self.context;
            inputs.extend_from_slice(&self.ids[start..start + self.context]);
            targets.extend_from_slice(&self.ids[start + 1..start + 1 + self.context]);
        }
        (inputs, targets)
    }
}

/// Where `place` of `count` goes in a shuffle that needs no memory: a Feistel network over the next power of four, walked
/// until it falls below `count` (Black and Rogaway, 2002).
fn permuted(place: u64, count: u64, seed: u64) -> u64 {
    let half = (64 - count.leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << half) - 1;
    let mut at = place;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..4 {
            let mixed = Chance(seed ^ (round << 56) ^ right).bits();
            (left, right) = (right, left ^ (mixed & mask));
        }
        at = left << half | right;
        if at < count {
            return at;
        }
    }
}

fn texts(path: &Path, field: &str) -> Result<Vec<String>> {
    let text = read_text(path)?;
    if path.extension().is_none_or(|e| e != "jsonl") {
        return Ok(vec![text]);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| text_of(line, field).map_err(|found| wrong_line(path, n, found, field))).collect()
}

fn text_of(line: &str, field: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    value.get(field).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| "a line without it".into())
}

fn wrong_line(path: &Path, line: usize, found: String, field: &str) -> Error {
    Error::malformed(path, format!("line {}", line + 1), found, format!("an object with a text in `{field}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_every_sequence_once() {
        for count in [1, 2, 3, 4, 5, 17, 64, 1000] {
            let mut found: Vec<u64> = (0..count).map(|n| permuted(n, count, 5)).collect();
            found.sort_unstable();
            assert_eq!(found, (0..count).collect::<Vec<_>>());
        }
        let tokens = Tokens { ids: (0..1003).collect(), context: 10, vocabulary: 1003 };
        let pass = 99;
        let mut starts = Vec::new();
        for step in 0..pass / 3 {
            let (inputs, targets) = tokens.batch(7, step, 3);
            assert!(inputs.iter().zip(&targets).all(|(a, b)| a + 1 == *b));
            starts.extend(inputs.chunks_exact(10).map(|s| s[0]));
        }
        starts.sort_unstable();
        assert!(starts.windows(2).all(|w| w[1] - w[0] == 10), "{starts:?}");
        assert!(tokens.batch(7, 0, 3) == tokens.batch(7, 0, 3) && tokens.batch(7, 0, 3) != tokens.batch(8, 0, 3));
        // Few tokens still give whole sequences.
        assert_eq!(Tokens { ids: (0..11).collect(), context: 10, vocabulary: 11 }.batch(1, 4, 2).0.len(), 20);
    }
}
