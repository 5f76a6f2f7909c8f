//! From logits to figures.

use serde::Serialize;
use tersor_kernels::{Level, ops};

/// A mean, or what is made of one, with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

/// What a text says of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// Predictions that were scored.
    pub predictions: usize,
    /// exp of the mean negative log likelihood.
    pub perplexity: Estimate,
    /// Beside a base model.
    #[serde(flatten)]
    pub divergence: Option<Divergence>,
}

/// How far the predictions are from a base model's.
#[derive(Clone, Debug, Serialize)]
pub struct Divergence {
    /// The base model's perplexity.
    pub base_perplexity: Estimate,
    /// Kullback-Leibler divergence from the base's distribution, in nats.
    pub kl: Kl,
    /// Share of predictions whose most likely token is the base's, in percent.
    pub same_top: f64,
    /// Its standard error.
    pub same_top_error: f64,
    /// Root mean square change of the probability of the text's own token, in percent.
    pub rms_change: f64,
    /// Its standard error.
    pub rms_change_error: f64,
}

/// Over the predictions.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Kl {
    /// Its mean.
    pub mean: f64,
    /// Standard error of the mean.
    pub error: f64,
    /// The median.
    pub median: f64,
    /// 99 of 100 predictions are below.
    pub p99: f64,
}

/// Sums over predictions.
pub(crate) struct Tally {
    /// Ids that count; what the embedding has beyond is padding.
    tokens: usize,
    nll: Vec<f64>,
    base_nll: Vec<f64>,
    kl: Vec<f64>,
    same_top: Vec<f64>,
    /// Squares of the change.
    change: Vec<f64>,
}

/// One prediction.
struct Predicted {
    nll: f64,
    base: Option<Beside>,
}

struct Beside {
    nll: f64,
    kl: f64,
    same_top: bool,
}

impl Tally {
    pub(crate) fn new(tokens: usize) -> Tally {
        let [nll, base_nll, kl, same_top, change] = Default::default();
        Tally { tokens, nll, base_nll, kl, same_top, change }
    }

    /// Rows of logits, one for each of `targets`, and the base's.
    pub(crate) fn add(&mut self, targets: &[u32], logits: &[f32], base: Option<&Vec<f32>>) {
        let width = logits.len() / targets.len();
        for (n, target) in targets.iter().enumerate() {
            let row = &logits[n * width..][..self.tokens.min(width)];
            let base = base.map(|base| {
                let width = base.len() / targets.len();
                &base[n * width..][..row.len().min(width)]
            });
            let found = predicted(row, base, *target as usize);
            self.nll.push(found.nll);
            if let Some(base) = found.base {
                self.base_nll.push(base.nll);
                self.kl.push(base.kl);
                self.same_top.push(if base.same_top { 1.0 } else { 0.0 });
                self.change.push(((-found.nll).exp() - (-base.nll).exp()).powi(2));
            }
        }
    }

    pub(crate) fn scores(self) -> Scores {
        let predictions = self.nll.len();
        let perplexity = perplexity(&self.nll);
        let divergence = (!self.kl.is_empty()).then(|| {
            let mean = mean(&self.kl);
            let mut sorted = self.kl;
            sorted.sort_by(f64::total_cmp);
            let change = self::mean(&self.change);
            let rms = change.value.sqrt();
            let same = percent(&self.same_top);
            Divergence {
                base_perplexity: self::perplexity(&self.base_nll),
                kl: Kl {
                    mean: mean.value,
                    error: mean.error,
                    median: quantile(&sorted, 0.5),
                    p99: quantile(&sorted, 0.99),
                },
                same_top: same.value,
                same_top_error: same.error,
                rms_change: 100.0 * rms,
                rms_change_error: 100.0 * change.error / (2.0 * rms.max(f64::MIN_POSITIVE)),
            }
        });
        Scores { predictions, perplexity, divergence }
    }
}

/// Negative log likelihood of `target`.
pub(super) fn nll(logits: &[f32], target: usize) -> f64 {
    predicted(logits, None, target).nll
}

fn predicted(logits: &[f32], base: Option<&[f32]>, target: usize) -> Predicted {
    let level = Level::best();
    let mut probabilities = logits.to_vec();
    let log_sum = ops::softmax(level, &mut probabilities, 1.0);
    let nll = log_sum - f64::from(logits[target]);
    let base = base.map(|base| {
        probabilities.clear();
        probabilities.extend_from_slice(base);
        let base_sum = ops::softmax(level, &mut probabilities, 1.0);
        let mut kl = log_sum - base_sum;
        let (mut top, mut base_top) = (0, 0);
        for (n, ((p, b), q)) in probabilities.iter().zip(base).zip(logits).enumerate() {
            kl += f64::from(*p) * (f64::from(*b) - f64::from(*q));
            if *q > logits[top] {
                top = n;
            }
            if *b > base[base_top] {
                base_top = n;
            }
        }
        Beside { nll: base_sum - f64::from(base[target]), kl: kl.max(0.0), same_top: top == base_top }
    });
    Predicted { nll, base }
}

fn mean(values: &[f64]) -> Estimate {
    let count = values.len().max(1) as f64;
    let value = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|v| (v - value).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Estimate { value, error: (square / count).sqrt() }
}

/// The mean of shares, in percent.
pub(super) fn percent(shares: &[f64]) -> Estimate {
    let Estimate { value, error } = mean(shares);
    Estimate { value: 100.0 * value, error: 100.0 * error }
}

pub(super) fn perplexity(nll: &[f64]) -> Estimate {
    let mean = mean(nll);
    Estimate { value: mean.value.exp(), error: mean.value.exp() * mean.error }
}

/// Between the two nearest, in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_small_distributions() {
        let base = [1f32, 2.0, 0.5, 9.0];
        let logits = [2f32, 1.0, 0.0, 9.0];
        // The fourth is padding.
        let mut tally = Tally::new(3);
        tally.add(&[1], &logits, Some(&base.to_vec()));
        let scores = tally.scores();
        let softmax = |x: &[f32]| {
            let sum: f64 = x[..3].iter().map(|v| f64::from(*v).exp()).sum();
            x[..3].iter().map(|v| f64::from(*v).exp() / sum).collect::<Vec<f64>>()
        };
        let (p, q) = (softmax(&base), softmax(&logits));
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let found = scores.divergence.unwrap();
        assert!((found.kl.mean - kl).abs() < 1e-6 && (found.kl.median - kl).abs() < 1e-6);
        assert!((scores.perplexity.value - 1.0 / q[1]).abs() < 1e-4);
        assert!((found.base_perplexity.value - 1.0 / p[1]).abs() < 1e-4);
        assert_eq!(found.same_top, 0.0);
        assert!((found.rms_change - 100.0 * (p[1] - q[1]).abs()).abs() < 1e-4);
    }

    #[test]
    fn a_model_is_not_far_from_itself() {
        let logits: Vec<f32> = (0..40).map(|i| (i * i % 17) as f32 / 3.0).collect();
        let mut tally = Tally::new(20);
        tally.add(&[3, 7], &logits, Some(&logits));
        let found = tally.scores().divergence.unwrap();
        assert!(found.kl.mean < 1e-12);
        assert_eq!((found.same_top, found.rms_change), (100.0, 0.0));
    }

    #[test]
    fn quantiles() {
        let sorted = [0.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 1.0), quantile(&sorted, 0.125)), (2.0, 4.0, 0.5));
    }
}
