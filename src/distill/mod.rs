//! A student learns from a teacher, or from text alone.
//!
//! Everything that decides the weights - texts, settings, seed - is given before the first step, and the state after each is a
//! function of them: a run that goes on from its last checkpoint ends with the bits of one that was never interrupted.

mod data;
mod lesson;
mod loss;
mod state;

pub use data::Tokens;
pub use loss::{Divergence, Loss, Parts};
pub use state::State;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::train::{AdamW, Batch, Dropout, Gradients, Network, Rates, TOGETHER};
use crate::progress::Progress;
use crate::windows::Windows;
use lesson::{Lesson, Teacher};
use serde::{Deserialize, Serialize};
use tersor_kernels::Level;

/// How the learning rate goes down after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Half a cosine, to the last rate.
    Cosine,
    /// A line, to the last rate.
    Linear,
    /// Not at all.
    Constant,
}

/// Everything that decides a run besides model and texts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is minimised.
    pub loss: Loss,
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps in which the rate goes up from 0.
    pub warmup: u64,
    /// The rate after the warm-up.
    pub lr: f64,
    /// The rate of the last step.
    pub last_lr: f64,
    /// How it gets there.
    pub schedule: Schedule,
    /// The betas of AdamW.
    pub betas: [f32; 2],
    /// Its epsilon.
    pub eps: f32,
    /// Its decay, of matrices.
    pub decay: f32,
    /// The norm of the gradient at most.
    pub clip: f64,
    /// Share of values that are left out.
    pub dropout: f32,
    /// Decides order and chance.
    pub seed: u64,
    /// Steps between two measurements on held-out text, and between two checkpoints.
    pub every: u64,
    /// Measurements without a better one before the run stops; 0 for no end before the last step.
    pub patience: u64,
    /// See [`Batch::recompute`].
    pub recompute: bool,
}

impl Settings {
    /// The learning rate of a step, which count from 1.
    fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return self.lr * step as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup).max(1) as f64;
        let left = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Schedule::Linear => 1.0 - done,
            Schedule::Constant => 1.0,
        };
        self.last_lr + (self.lr - self.last_lr) * left
    }
}

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// Steps so far.
    pub step: u64,
    /// The mean over the step's predictions.
    pub loss: f64,
    /// Its divergence from the teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    /// Its cross-entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_entropy: Option<f64>,
    /// The norm of the gradient before it was clipped.
    pub gradient: f64,
    /// The learning rate.
    pub lr: f64,
    /// On held-out text, after the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<Heldout>,
}

/// What a student is worth on text that it does not learn from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heldout {
    /// exp of the mean negative log likelihood.
    pub perplexity: f64,
    /// Mean KL from the teacher, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// No measurement before was better.
    pub best: bool,
}

impl Heldout {
    /// What is to become small.
    fn score(&self) -> f64 {
        self.kl.unwrap_or(self.perplexity)
    }
}

/// Texts and models of a run.
pub struct Run<'a> {
    /// Who learns.
    pub network: Network,
    /// From whom.
    pub teacher: Option<&'a Model>,
    /// On what.
    pub tokens: &'a Tokens,
    /// Measured on what.
    pub heldout: Option<&'a Windows>,
    /// Ids that both models know.
    pub vocabulary: usize,
    /// How.
    pub settings: &'a Settings,
    /// Where it stands.
    pub state: State,
    /// Instruction set.
    pub level: Level,
}

/// How a run ended.
pub struct Learnt {
    /// The best weights where they were measured, the last ones elsewhere.
    pub network: Network,
    /// Their step.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// What they are worth.
    pub heldout: Option<Heldout>,
    /// Before the first step.
    pub before: Option<Heldout>,
}

impl Run<'_> {
    /// Learn, or go on learning. `hear` gets what every step gave; `progress` hears of tokens.
    ///
    /// # Errors
    /// A loss that is no number, files that cannot be written, [`Error::Interrupted`]. The last checkpoint stays.
    pub fn learn(mut self, progress: &dyn Progress, hear: &mut dyn FnMut(&Metric)) -> Result<Learnt> {
        let settings = self.settings;
        let mut teacher = self.teacher.map(|model| Teacher::new(model, self.context())).transpose()?;
        let mut adam = AdamW::new(&self.network);
        let resumed = self.state.load(&mut self.network, &mut adam)?;
        if resumed {
            progress.resume(self.state.step() * self.tokens_of_step());
        } else if self.heldout.is_some() {
            self.state.reached.before = self.measure(teacher.as_mut())?;
        }
        let mut gradients = self.network.gradients();
        while self.state.step() < settings.steps && !self.is_stale() {
            let mut metric = self.step(&mut adam, &mut gradients, teacher.as_mut())?;
            let due = metric.step % settings.every == 0 || metric.step == settings.steps;
            if due {
                metric.heldout = self.measure(teacher.as_mut())?;
            }
            self.state.note(&metric)?;
            if metric.heldout.is_some_and(|h| h.best) {
                self.state.save_best(&self.network)?;
            }
            progress.advance(self.tokens_of_step());
            hear(&metric);
            let stop = progress.cancelled();
            if due || stop {
                self.state.save(&self.network, &adam)?;
            }
            if stop {
                return Err(Error::Interrupted);
            }
        }
        let reached = self.state.reached.clone();
        if reached.best.is_some() {
            self.state.load_best(&mut self.network)?;
        }
        let step = reached.best.map_or(reached.step, |(step, _)| step);
        let heldout = reached.best.map(|(_, heldout)| heldout);
        Ok(Learnt { network: self.network, step, steps: reached.step, heldout, before: reached.before })
    }

    /// Tokens of the longest sequence that the teacher hears.
    fn context(&self) -> usize {
        self.settings.context.max(self.heldout.map_or(0, |windows| windows.context))
    }

    fn tokens_of_step(&self) -> u64 {
        (self.settings.batch * self.settings.context) as u64
    }

    fn is_stale(&self) -> bool {
        self.settings.patience > 0 && self.state.reached.stale >= self.settings.patience
    }

    fn step(
        &mut self,
        adam: &mut AdamW,
        gradients: &mut Gradients,
        mut teacher: Option<&mut Teacher<'_>>,
    ) -> Result<Metric> {
        let settings = self.settings;
        let number = self.state.step() + 1;
        let (inputs, targets) = self.tokens.batch(settings.seed, number - 1, settings.batch);
        let part = (TOGETHER / settings.context).max(1) * settings.context;
        gradients.clear();
        let mut sums = [0.0; 3];
        for (n, (inputs, targets)) in inputs.chunks(part).zip(targets.chunks(part)).enumerate() {
            if let Some(teacher) = &mut teacher {
                teacher.listen(inputs, settings.context)?;
            }
            let mut lesson = Lesson {
                teacher: teacher.as_deref_mut(),
                targets,
                rows: 0..targets.len(),
                loss: settings.loss,
                vocabulary: self.vocabulary,
                scale: 1.0 / (settings.batch * settings.context) as f32,
                level: self.level,
            };
            let seed = settings.seed ^ (number << 20) ^ n as u64;
            let dropout = (settings.dropout > 0.0).then_some(Dropout { rate: settings.dropout, seed });
            let batch = Batch { tokens: inputs, context: settings.context, dropout, recompute: settings.recompute };
            let losses = self.network.losses(&batch, &mut lesson, Some(&mut *gradients))?;
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        }
        let [loss, divergence, cross_entropy] = sums.map(|sum| sum / (settings.batch * settings.context) as f64);
        let gradient = self.network.gradient_norm(gradients);
        if !loss.is_finite() || !gradient.is_finite() {
            return Err(Error::Diverged {
                step: number,
                loss,
                gradient,
                kept: self.state.saved().then(|| self.state.folder.clone()),
            });
        }
        let scale = (settings.clip / (gradient + 1e-6)).min(1.0) as f32;
        let lr = settings.rate(number);
        let [beta1, beta2] = settings.betas;
        let rates = Rates { lr: lr as f32, beta1, beta2, eps: settings.eps, decay: settings.decay, scale };
        adam.update(&mut self.network, gradients, &rates);
        self.state.reached.step = number;
        let has_teacher = teacher.is_some();
        let divergence = has_teacher.then_some(divergence);
        let cross_entropy = (!has_teacher || settings.loss.cross_entropy > 0.0).then_some(cross_entropy);
        Ok(Metric { step: number, loss, divergence, cross_entropy, gradient, lr, heldout: None })
    }

    /// The student on held-out text; the state keeps what is best.
    fn measure(&mut self, mut teacher: Option<&mut Teacher<'_>>) -> Result<Option<Heldout>> {
        let Some(windows) = self.heldout else { return Ok(None) };
        let (mut sums, mut count) = ([0.0; 3], 0);
        for window in windows.iter() {
            let sums_of_window = lesson::measure(
                &self.network,
                teacher.as_deref_mut(),
                window,
                windows.scored(),
                self.vocabulary,
                self.level,
            )?;
            sums.iter_mut().zip(sums_of_window).for_each(|(sum, loss)| *sum += loss);
            count += windows.scored().len();
        }
        let [_, kl, entropy] = sums.map(|sum| sum / count as f64);
        let mut found = Heldout { perplexity: entropy.exp(), kl: teacher.is_some().then_some(kl), best: false };
        let reached = &mut self.state.reached;
        if reached.step > 0 {
            found.best = found.score().is_finite() && reached.best.is_none_or(|(_, best)| found.score() < best.score());
            if found.best {
                (reached.best, reached.stale) = (Some((reached.step, found)), 0);
            } else {
                reached.stale += 1;
            }
        }
        Ok(Some(found))
    }
}
