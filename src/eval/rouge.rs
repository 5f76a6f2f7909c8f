//! ROUGE: words, pairs of words and longest common subsequence that a text shares with a reference,
//! <https://aclanthology.org/W04-1013>.
//!
//! The figures are those of PyPI `rouge-score` without its stemmer.

use ahash::AHashMap;

/// F-measures of words, pairs, and the longest common subsequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rouge {
    pub(super) rouge1: f64,
    pub(super) rouge2: f64,
    pub(super) rouge_l: f64,
}

/// The best of each over the references.
pub(super) fn rouge(text: &str, references: &[String]) -> Rouge {
    let text = words(text);
    let mut best = Rouge { rouge1: 0.0, rouge2: 0.0, rouge_l: 0.0 };
    for reference in references.iter().map(|r| words(r)) {
        best.rouge1 = best.rouge1.max(shared(&text, &reference, 1));
        best.rouge2 = best.rouge2.max(shared(&text, &reference, 2));
        best.rouge_l = best.rouge_l.max(f_measure(longest_common(&text, &reference), text.len(), reference.len()));
    }
    best
}

/// Runs of a to z and 0 to 9 in the text in lower case.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    lower.split(|c| !is_letter(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// How often each run of `n` items occurs.
pub(super) fn grams<T: AsRef<str>>(items: &[T], n: usize) -> AHashMap<Vec<&str>, usize> {
    let mut counts = AHashMap::new();
    for gram in items.windows(n) {
        *counts.entry(gram.iter().map(AsRef::as_ref).collect()).or_insert(0) += 1;
    }
    counts
}

fn shared(text: &[String], reference: &[String], n: usize) -> f64 {
    let (ours, theirs) = (grams(text, n), grams(reference, n));
    let overlap = ours.iter().map(|(gram, count)| theirs.get(gram).map_or(0, |other| *other.min(count))).sum();
    f_measure(overlap, (text.len() + 1).saturating_sub(n), (reference.len() + 1).saturating_sub(n))
}

fn f_measure(shared: usize, text: usize, reference: usize) -> f64 {
    let share = |of: usize| shared as f64 / of.max(1) as f64;
    let (precision, recall) = (share(text), share(reference));
    if shared == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

fn longest_common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (n, other) in b.iter().enumerate() {
            let above = row[n + 1];
            row[n + 1] = if word == other { diagonal + 1 } else { above.max(row[n]) };
            diagonal = above;
        }
    }
    row[b.len()]
}
