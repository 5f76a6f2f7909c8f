//! Activation statistics: for every Linear, how large its inputs are, column by column.
//!
//! They are kept as an importance matrix file of llama.cpp, which `llama-quantize --imatrix` reads.

mod collect;
mod file;
mod keep;
mod legacy;

pub use collect::collect;
pub use keep::Keep;

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Sums over the inputs of every matrix, by the matrix's name in GGUF.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The texts.
    pub datasets: Vec<String>,
    /// Contexts that were run.
    pub chunks: u32,
    /// Tokens of a context.
    pub context: u32,
    /// By name.
    pub entries: BTreeMap<String, Entry>,
}

/// The inputs of one matrix, or of the matrices of several experts.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Sums of squares per column, expert after expert.
    pub squares: Vec<f32>,
    /// Tokens that each expert saw.
    pub counts: Vec<f32>,
}

impl Statistics {
    /// Add what `other` saw.
    ///
    /// # Errors
    /// [`Error::Usage`] when a matrix has other sizes there.
    pub fn merge(&mut self, other: Statistics) -> Result<()> {
        for (name, theirs) in other.entries {
            let Some(ours) = self.entries.get_mut(&name) else {
                self.entries.insert(name, theirs);
                continue;
            };
            if ours.squares.len() != theirs.squares.len() || ours.counts.len() != theirs.counts.len() {
                let problem = format!(
                    "statistics of two models: `{name}` has {} and {} columns",
                    ours.squares.len(),
                    theirs.squares.len()
                );
                return Err(Error::Usage { problem, hint: "merge statistics of one model only".into() });
            }
            let sums = ours.squares.iter_mut().zip(theirs.squares).chain(ours.counts.iter_mut().zip(theirs.counts));
            sums.for_each(|(a, b)| *a += b);
        }
        self.datasets.extend(other.datasets);
        self.chunks = self.chunks.saturating_add(other.chunks);
        self.context = self.context.max(other.context);
        Ok(())
    }

    /// Tokens that were run; 0 where the file does not say how long its contexts were.
    pub fn tokens(&self) -> u64 {
        u64::from(self.chunks) * u64::from(self.context)
    }

    /// Sixteen hexadecimal digits of a hash of all of it.
    pub fn digest(&self) -> String {
        blake3::hash(&self.encode()).to_hex()[..16].to_owned()
    }

    /// The mean of the squares in every column of what goes into the matrix `name`, which has `columns`.
    ///
    /// # Errors
    /// [`Error::Usage`] for statistics of another model, or with sums that are no numbers.
    pub fn means(&self, name: &str, columns: u64) -> Result<Vec<f32>> {
        let usage = |problem: String| {
            Err(Error::Usage { problem, hint: "collect them with this model, by `tersor calibrate`".into() })
        };
        let Some(entry) = self.entries.get(name).filter(|e| e.counts.len() == 1 && e.counts[0] > 0.0) else {
            let example = self.entries.keys().next().map_or("none", String::as_str);
            return usage(format!(
                "statistics of another model: none of `{name}` (theirs are of `{example}` and others)"
            ));
        };
        if entry.squares.len() as u64 != columns {
            let found = entry.squares.len();
            return usage(format!(
                "statistics of another model: `{name}` has {found} columns there and {columns} here"
            ));
        }
        let means: Vec<f32> = entry.squares.iter().map(|sum| sum / entry.counts[0]).collect();
        match means.iter().position(|mean| !(mean.is_finite() && *mean >= 0.0)) {
            Some(column) => usage(format!("statistics of `{name}`: {} in column {column}", entry.squares[column])),
            None => Ok(means),
        }
    }

    /// How much an error in each column counts: the mean of its squares. A column without a finite mean above zero gets the
    /// mean of the others; how many did is the second value. `None` without statistics for `name`, or for several
    /// experts.
    pub fn importance(&self, name: &str) -> Option<(Vec<f32>, usize)> {
        let entry = self.entries.get(name).filter(|e| e.counts.len() == 1)?;
        let mut means: Vec<f32> = entry.squares.iter().map(|sum| sum / entry.counts[0]).collect();
        let is_sound = |mean: &f32| mean.is_finite() && *mean > 0.0;
        let sound: Vec<f64> = means.iter().copied().filter(is_sound).map(f64::from).collect();
        let filled = means.len() - sound.len();
        let mean = if sound.is_empty() { 1.0 } else { (sound.iter().sum::<f64>() / sound.len() as f64) as f32 };
        means.iter_mut().filter(|m| !is_sound(m)).for_each(|m| *m = mean);
        Some((means, filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(squares: &[f32], count: f32) -> Statistics {
        let entry = Entry { squares: squares.to_vec(), counts: vec![count] };
        let entries = BTreeMap::from([("blk.0.attn_q.weight".to_owned(), entry)]);
        Statistics { datasets: vec!["a.txt".into()], chunks: 1, context: 8, entries }
    }

    #[test]
    fn columns_without_a_mean_get_that_of_the_others() {
        let found = statistics(&[4.0, 0.0, f32::NAN, 8.0], 4.0).importance("blk.0.attn_q.weight").unwrap();
        assert_eq!(found, (vec![1.0, 1.5, 1.5, 2.0], 2));
        let none = statistics(&[0.0, 0.0], 4.0).importance("blk.0.attn_q.weight").unwrap();
        assert_eq!(none, (vec![1.0, 1.0], 2));
        assert!(statistics(&[1.0], 1.0).importance("blk.0.attn_k.weight").is_none());
    }

    #[test]
    fn statistics_add_up() {
        let mut sum = statistics(&[1.0, 2.0], 3.0);
        sum.merge(statistics(&[10.0, 20.0], 5.0)).unwrap();
        assert_eq!(sum.entries["blk.0.attn_q.weight"], Entry { squares: vec![11.0, 22.0], counts: vec![8.0] });
        assert_eq!((sum.chunks, sum.context, sum.datasets.len()), (2, 8, 2));
        assert!(sum.merge(statistics(&[1.0], 1.0)).is_err());
    }
}
