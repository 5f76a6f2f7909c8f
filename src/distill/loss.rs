//! What a student is to become: losses of one prediction, and their gradients.
//!
//! With a temperature T, p is the teacher's softmax(logits / T) and q the student's. Divergences are multiplied by T^2, as
//! their gradients shrink by it (Hinton et al., arXiv 1503.02531).

use super::cache::Top;
use tersor_kernels::{Level, ops};

/// How far q is from p, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Divergence {
    /// KL(p || q): q is nowhere small where p is large.
    Forward,
    /// KL(q || p): q is nowhere large where p is small.
    Reverse,
    /// b KL(p || m) + (1 - b) KL(q || m), m = b p + (1 - b) q (arXiv 2306.13649).
    JensenShannon {
        /// b, between 0 and 1.
        beta: f32,
    },
}

/// A loss over predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// From the teacher.
    pub divergence: Divergence,
    /// T.
    pub temperature: f32,
    /// Share of the cross-entropy with the text's own token; the divergence has the rest. 1 without a teacher.
    pub cross_entropy: f32,
}

/// The losses of one prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// What is minimised.
    pub total: f64,
    /// The divergence from the teacher, without its share.
    pub divergence: f64,
    /// The cross-entropy, without its share.
    pub cross_entropy: f64,
}

impl Loss {
    /// The loss of `logits` beside those of the teacher; `logits` become its gradient times `scale`.
    ///
    /// # Panics
    /// When the teacher has another number of logits, or `target` is beyond them.
    pub fn turn(
        &self,
        level: Level,
        logits: &mut [f32],
        teacher: Option<Taught<'_>>,
        target: Option<usize>,
        scale: f32,
    ) -> Parts {
        let mut parts = Parts::default();
        let share = if teacher.is_some() { self.cross_entropy } else { 1.0 };
        let mut gradient = vec![0.0; logits.len()];
        if let Some(target) = target.filter(|_| share > 0.0) {
            let mut q = logits.to_vec();
            let log_sum = ops::softmax(level, &mut q, 1.0);
            parts.cross_entropy = log_sum - f64::from(logits[target]);
            q[target] -= 1.0;
            gradient.iter_mut().zip(q).for_each(|(g, q)| *g = share * q);
        }
        if let Some(teacher) = teacher.filter(|_| share < 1.0) {
            let q = Softmax::of(level, logits, self.temperature);
            let (divergence, slopes) = match teacher {
                Taught::Logits(teacher) => {
                    assert_eq!(teacher.len(), logits.len());
                    self.divergence.of(&Softmax::of(level, teacher, self.temperature), &q)
                }
                Taught::Top(top) => self.divergence.of_top(top, &q),
            };
            parts.divergence = divergence * f64::from(self.temperature).powi(2);
            let share = (1.0 - share) * self.temperature;
            gradient.iter_mut().zip(slopes).for_each(|(g, slope)| *g += share * slope);
        }
        parts.total = f64::from(share) * parts.cross_entropy + f64::from(1.0 - share) * parts.divergence;
        logits.iter_mut().zip(gradient).for_each(|(logit, g)| *logit = scale * g);
        parts
    }
}

/// What a teacher predicts.
#[derive(Clone, Copy, Debug)]
pub enum Taught<'a> {
    /// Logits of all ids.
    Logits(&'a [f32]),
    /// The largest probabilities, at the temperature of the loss.
    Top(&'a Top),
}

/// Probabilities and their logarithms.
struct Softmax {
    values: Vec<f32>,
    logarithms: Vec<f32>,
}

impl Softmax {
    fn of(level: Level, logits: &[f32], temperature: f32) -> Softmax {
        let scale = 1.0 / temperature;
        let mut values = logits.to_vec();
        let log_sum = ops::softmax(level, &mut values, scale) as f32;
        Softmax { values, logarithms: logits.iter().map(|logit| logit * scale - log_sum).collect() }
    }
}

impl Divergence {
    /// It, and its derivative by the student's logits over the temperature.
    fn of(self, p: &Softmax, q: &Softmax) -> (f64, Vec<f32>) {
        let logarithms = || p.logarithms.iter().zip(&q.logarithms);
        match self {
            Divergence::Forward => {
                let terms = p.values.iter().zip(logarithms()).map(|(p, (log_p, log_q))| p * (log_p - log_q));
                let sum = terms.map(f64::from).sum();
                (sum, q.values.iter().zip(&p.values).map(|(q, p)| q - p).collect())
            }
            Divergence::Reverse => weighed(&q.values, logarithms().map(|(log_p, log_q)| log_q - log_p).collect()),
            Divergence::JensenShannon { beta } => {
                let mean =
                    p.values.iter().zip(&q.values).map(|(p, q)| (beta * p + (1.0 - beta) * q).max(f32::MIN_POSITIVE));
                let logarithm: Vec<f32> = mean.map(f32::ln).collect();
                let differences = |of: &[f32]| of.iter().zip(&logarithm).map(|(a, m)| a - m).collect::<Vec<f32>>();
                let from_p =
                    p.values.iter().zip(differences(&p.logarithms)).map(|(p, d)| f64::from(p * d)).sum::<f64>();
                let (from_q, slopes) = weighed(&q.values, differences(&q.logarithms));
                let share = 1.0 - beta;
                let sum = f64::from(beta) * from_p + f64::from(share) * from_q;
                (sum, slopes.into_iter().map(|slope| share * slope).collect())
            }
        }
    }
}

/// The least that the student gives to all ids together that a prediction has no probabilities for.
const REST: f32 = 1e-9;

impl Divergence {
    /// The same from the largest probabilities alone: all other ids are one event.
    fn of_top(self, top: &Top, q: &Softmax) -> (f64, Vec<f32>) {
        let p =
            Softmax { values: top.logarithms.iter().map(|l| l.exp()).collect(), logarithms: top.logarithms.clone() };
        let kept = || top.ids.iter().map(|id| *id as usize);
        let sum: f64 = kept().map(|id| f64::from(q.values[id])).sum();
        let rest = ((q.values.iter().map(|v| f64::from(*v)).sum::<f64>() - sum) as f32).max(REST);
        let events = Softmax {
            values: kept().map(|id| q.values[id]).chain([rest]).collect(),
            logarithms: kept().map(|id| q.logarithms[id]).chain([rest.ln()]).collect(),
        };
        let (divergence, slopes) = self.of(&p, &events);
        let share = slopes[top.ids.len()] / rest;
        let mut all: Vec<f32> = q.values.iter().map(|v| share * v).collect();
        kept().zip(slopes).for_each(|(id, slope)| all[id] = slope);
        (divergence, all)
    }
}

/// The mean of `values` under q, and q times how far each is from it.
fn weighed(q: &[f32], values: Vec<f32>) -> (f64, Vec<f32>) {
    let mean: f64 = q.iter().zip(&values).map(|(q, v)| f64::from(q * v)).sum();
    (mean, q.iter().zip(values).map(|(q, v)| q * (v - mean as f32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSES: [Divergence; 4] = [
        Divergence::Forward,
        Divergence::Reverse,
        Divergence::JensenShannon { beta: 0.5 },
        Divergence::JensenShannon { beta: 0.1 },
    ];

    fn wave(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step + 0.3).sin() * 3.0).collect()
    }

    #[test]
    fn gradients_agree_with_differences() {
        for divergence in LOSSES {
            for (temperature, cross_entropy) in [(1.0, 0.0), (2.0, 0.3), (0.7, 1.0)] {
                let loss = Loss { divergence, temperature, cross_entropy };
                let (student, teacher) = (wave(21, 0.7), wave(21, 1.9));
                let top = Top::of(Level::best(), &teacher, 6, temperature);
                for taught in [Taught::Logits(&teacher), Taught::Top(&top)] {
                    let total = |student: &[f32]| {
                        loss.turn(Level::best(), &mut student.to_vec(), Some(taught), Some(4), 1.0).total
                    };
                    let mut gradient = student.clone();
                    loss.turn(Level::best(), &mut gradient, Some(taught), Some(4), 0.5);
                    for i in 0..student.len() {
                        let at = |by: f32| {
                            let mut moved = student.clone();
                            moved[i] += by;
                            total(&moved)
                        };
                        let slope = (at(0.01) - at(-0.01)) / 0.02;
                        let found = f64::from(gradient[i]) / 0.5;
                        assert!((found - slope).abs() < 1e-3, "{loss:?} {i}: {found} for {slope}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_student_that_is_the_teacher_has_nothing_to_learn() {
        let teacher = wave(40, 0.9);
        for divergence in LOSSES {
            let mut logits = teacher.clone();
            let loss = Loss { divergence, temperature: 1.5, cross_entropy: 0.0 };
            let parts = loss.turn(Level::best(), &mut logits, Some(Taught::Logits(&teacher)), None, 1.0);
            assert!(parts.total.abs() < 1e-6, "{parts:?}");
            assert!(logits.iter().all(|g| g.abs() < 1e-6));
        }
    }

    /// What is kept of a prediction has no more divergence than the whole, and the same where all of it is kept.
    #[test]
    fn largest_probabilities_stand_for_all() {
        let (student, teacher) = (wave(200, 0.7), wave(200, 1.9));
        for divergence in LOSSES {
            let loss = Loss { divergence, temperature: 1.0, cross_entropy: 0.0 };
            let of = |taught: Taught<'_>| loss.turn(Level::best(), &mut student.clone(), Some(taught), None, 1.0).total;
            let whole = of(Taught::Logits(&teacher));
            let kept = [20, 100, 200].map(|k| of(Taught::Top(&Top::of(Level::best(), &teacher, k, 1.0))));
            assert!(kept.windows(2).all(|w| w[0] < w[1] + 1e-3) && (kept[2] - whole).abs() < 1e-3, "{kept:?} {whole}");
        }
    }
}
