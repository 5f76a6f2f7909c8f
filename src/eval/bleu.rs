//! BLEU: runs of one to four words that texts share with references, <https://aclanthology.org/P02-1040>.
//!
//! The figure is that of PyPI `sacrebleu` as it is by default: a whole corpus, tokenizer 13a, exponential smoothing.

use super::rouge::grams;

/// The longest runs.
const ORDERS: usize = 4;

/// Counts over a corpus.
#[derive(Debug, Default)]
pub(super) struct Bleu {
    matches: [usize; ORDERS],
    total: [usize; ORDERS],
    length: usize,
    reference_length: usize,
}

impl Bleu {
    pub(super) fn add(&mut self, text: &str, references: &[String]) {
        let text = tokens(text);
        let references: Vec<Vec<String>> = references.iter().map(|r| tokens(r)).collect();
        self.length += text.len();
        // The closest length, the shorter of two.
        let lengths = references.iter().map(Vec::len);
        self.reference_length += lengths.min_by_key(|len| (len.abs_diff(text.len()), *len)).unwrap_or(0);
        for n in 1..=ORDERS {
            let theirs: Vec<_> = references.iter().map(|reference| grams(reference, n)).collect();
            for (gram, count) in grams(&text, n) {
                let most = theirs.iter().filter_map(|grams| grams.get(&gram)).max();
                self.matches[n - 1] += most.map_or(0, |most| *most.min(&count));
                self.total[n - 1] += count;
            }
        }
    }

    /// From 0 to 100.
    pub(super) fn score(&self) -> f64 {
        if self.matches == [0; ORDERS] || self.total.contains(&0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let logs = self.matches.iter().zip(self.total).map(|(matches, total)| match matches {
            0 => {
                smoothing *= 2.0;
                (100.0 / (smoothing * total as f64)).ln()
            }
            _ => (100.0 * *matches as f64 / total as f64).ln(),
        });
        let mean = logs.sum::<f64>() / ORDERS as f64;
        let brevity = (1.0 - self.reference_length as f64 / self.length as f64).min(0.0);
        (brevity + mean).exp()
    }
}

/// mteval-v13a's: punctuation stands alone, but for full stops and commas between digits and hyphens after letters.
fn tokens(text: &str) -> Vec<String> {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let is_mark = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut spaced = String::from(" ");
    for c in text.chars() {
        if is_mark(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced.push(' ');
    let (is_digit, is_stop) = (|c: char| c.is_ascii_digit(), |c: char| c == '.' || c == ',');
    let spaced = pairs(&spaced, |a, b| !is_digit(a) && is_stop(b), |a, b| [a, ' ', b, ' ']);
    let spaced = pairs(&spaced, |a, b| is_stop(a) && !is_digit(b), |a, b| [' ', a, ' ', b]);
    let spaced = pairs(&spaced, |a, b| is_digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Replace pairs of characters, from left to right; none is in two pairs.
fn pairs(text: &str, is_pair: impl Fn(char, char) -> bool, instead: impl Fn(char, char) -> [char; 4]) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.next_if(|next| is_pair(c, *next)) {
            Some(next) => out.extend(instead(c, next)),
            None => out.push(c),
        }
    }
    out
}
