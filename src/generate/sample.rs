//! One token out of a row of logits.

use crate::chance::Chance;
use tersor_kernels::{Level, ops};

/// How a token is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Logits are divided by it; with 0 the most likely token is taken.
    pub temperature: f32,
    /// Only the fewest tokens are eligible that have this share of the probability together: nucleus sampling,
    /// <https://arxiv.org/abs/1904.09751>.
    pub top_p: f32,
    /// The same seed gives the same tokens.
    pub seed: u64,
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: 0 };
}

pub(super) struct Sampler {
    sampling: Sampling,
    chance: Chance,
    /// Kept memory.
    probabilities: Vec<f32>,
    eligible: Vec<u32>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Sampler {
        Sampler { chance: Chance(sampling.seed), sampling, probabilities: Vec::new(), eligible: Vec::new() }
    }

    /// A token by its row of logits.
    pub(super) fn choose(&mut self, logits: &[f32]) -> u32 {
        let Sampling { temperature, top_p, .. } = self.sampling;
        let mut top = 0;
        for (n, logit) in logits.iter().enumerate() {
            if *logit > logits[top] {
                top = n;
            }
        }
        if temperature == 0.0 {
            return top as u32;
        }
        self.probabilities.clear();
        self.probabilities.extend(logits.iter().map(|logit| logit - logits[top]));
        ops::softmax(Level::best(), &mut self.probabilities, 1.0 / temperature);
        let p = &self.probabilities;
        // Tokens below this bound have less than 1 - top_p together, so those above hold the nucleus.
        let bound = (1.0 - top_p) / p.len() as f32;
        self.eligible.clear();
        self.eligible.extend((0..p.len() as u32).filter(|id| p[*id as usize] >= bound));
        let by_probability = |a: &u32, b: &u32| p[*b as usize].total_cmp(&p[*a as usize]).then(a.cmp(b));
        self.eligible.sort_unstable_by(by_probability);
        let mut mass = 0.0;
        let within = self.eligible.iter().take_while(|id| {
            let wanted = mass < f64::from(top_p);
            mass += f64::from(p[**id as usize]);
            wanted
        });
        let nucleus = &self.eligible[..within.count().max(1)];
        let mass: f64 = nucleus.iter().map(|id| f64::from(p[*id as usize])).sum();
        let mut left = self.chance.uniform() * mass;
        let chosen = nucleus.iter().find(|id| {
            left -= f64::from(p[**id as usize]);
            left < 0.0
        });
        *chosen.unwrap_or(&nucleus[nucleus.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of three tokens is chosen in a thousand draws.
    fn counts(temperature: f32, top_p: f32) -> [u32; 3] {
        // Probabilities .6, .3 and .1 at temperature 1.
        let logits = [0.3f32.ln(), 0.6f32.ln(), 0.1f32.ln()];
        let mut sampler = Sampler::new(Sampling { temperature, top_p, seed: 7 });
        let mut counts = [0; 3];
        (0..1000).for_each(|_| counts[sampler.choose(&logits) as usize] += 1);
        counts
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let near = |found: [u32; 3], wanted: [u32; 3]| {
            // Four standard deviations of a count are at most 63.
            assert!(found.iter().zip(wanted).all(|(f, w)| f.abs_diff(w) < 63 && (*f == 0) == (w == 0)), "{found:?}");
        };
        near(counts(1.0, 1.0), [300, 600, 100]);
        // Squared and divided by their sum.
        near(counts(0.5, 1.0), [196, 783, 22]);
        near(counts(1.0, 0.85), [333, 667, 0]);
        // The first token already has that share.
        near(counts(1.0, 0.6), [0, 1000, 0]);
        near(counts(1.0, 1e-9), [0, 1000, 0]);
        near(counts(0.0, 1.0), [0, 1000, 0]);
    }

    #[test]
    fn a_seed_fixes_the_tokens() {
        let logits: Vec<f32> = (0..500).map(|i| (i * i % 97) as f32 / 20.0).collect();
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling { temperature: 1.0, top_p: 0.95, seed });
            (0..50).map(|_| sampler.choose(&logits)).collect::<Vec<u32>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
