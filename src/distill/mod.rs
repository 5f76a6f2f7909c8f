//! A student learns from a teacher, or from text alone.
//!
//! Everything that decides the weights - texts, settings, seed - is given before the first step, and the state after each is a
//! function of them: a run that goes on from its last checkpoint ends with the bits of one that was never interrupted.

mod adapter;
mod cache;
mod data;
mod file;
mod lesson;
mod loss;
mod matching;
mod settings;
mod state;
mod student;

pub use adapter::write_adapter;
pub use cache::{Cache, Predicted, write_cache};
pub use data::Tokens;
pub use loss::{Divergence, Loss, Parts};
pub use matching::{LayerMap, Matching};
pub use settings::{Length, Schedule, Settings};
pub use state::{State, metrics};
pub use student::{Beside, Recovery, halve, round};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::train::{AdamW, Batch, Dropout, Gradients, Network, Rates, TOGETHER};
use crate::progress::Progress;
use crate::windows::Windows;
use cache::Top;
use lesson::{Lesson, Teacher};
use serde::{Deserialize, Serialize};
use state::Reached;
use std::fmt;
use std::time::Instant;
use tersor_kernels::Level;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// Steps so far.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The mean over the step's predictions.
    pub loss: f64,
    /// Its divergence from the teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    /// How far its hidden states are from the teacher's, a mean over blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<f64>,
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

impl fmt::Display for Heldout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kl) = self.kl {
            write!(f, "KL {kl:.4}, ")?;
        }
        write!(f, "perplexity {:.3}", self.perplexity)
    }
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
    /// What such a one once predicted for the same tokens: then `teacher` is for held-out text alone.
    pub cache: Option<&'a Cache>,
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

/// The sequences of a step, one after another.
struct Drawn {
    inputs: Vec<u32>,
    /// The token after each.
    targets: Vec<u32>,
    /// What a teacher predicted for them, if that is known.
    told: Option<Vec<Top>>,
}

/// Of the time that is left, what steps are planned for.
const ON_TIME: f64 = 0.97;

/// The time of all calls.
struct Clock {
    started: Instant,
    /// Seconds of calls before this one.
    before: f64,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

/// How a run ended.
pub struct Learnt {
    /// The best weights where they were measured, the last ones elsewhere.
    pub network: Network,
    /// Their step.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// The time that they took, with measurements and checkpoints, over all calls.
    pub seconds: f64,
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
        let blocks = || settings.matching.iter().flat_map(|matching| &matching.pairs).map(|(_, of)| *of);
        let mut teacher = self.teacher.map(|model| Teacher::new(model, self.context(), blocks())).transpose()?;
        let mut adam = AdamW::new(&self.network);
        let resumed = self.state.load(&mut self.network, &mut adam)?;
        if resumed {
            progress.resume(self.state.step() * self.tokens_of_step());
        } else if self.heldout.is_some() {
            self.state.reached.before = self.measure(teacher.as_mut())?;
        }
        let mut gradients = self.network.gradients();
        let clock = Clock { started: Instant::now(), before: self.state.reached.seconds };
        let steps = self.steps(&mut gradients, teacher.as_mut(), &clock)?;
        while self.state.step() < steps && !self.is_stale() && !self.is_late(&clock) {
            let mut metric = self.step(&mut gradients, teacher.as_mut(), Some((&mut adam, steps)))?;
            let due = metric.step.is_multiple_of(settings.every) || metric.step == steps || self.is_late(&clock);
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
                self.state.reached.seconds = clock.seconds();
                self.state.save(&self.network, &adam)?;
            }
            if stop {
                return Err(Error::Interrupted);
            }
        }
        self.state.reached.seconds = clock.seconds();
        let reached = self.state.reached.clone();
        if reached.best.is_some() {
            self.state.load_best(&mut self.network)?;
        }
        let step = reached.best.map_or(reached.step, |(step, _)| step);
        let heldout = reached.best.map(|(_, heldout)| heldout);
        let Reached { step: steps, seconds, before, .. } = reached;
        Ok(Learnt { network: self.network, step, steps, seconds, heldout, before })
    }

    /// Steps of the whole run; tried out where it is bound by time, and once for all.
    fn steps(
        &mut self,
        gradients: &mut Gradients,
        mut teacher: Option<&mut Teacher<'_>>,
        clock: &Clock,
    ) -> Result<u64> {
        let minutes = match self.settings.length {
            Length::Steps(steps) => return Ok(steps),
            Length::Minutes(minutes) => minutes,
        };
        if self.state.reached.steps == 0 {
            // The first one takes memory from the system, which later ones do not.
            self.step(gradients, teacher.as_deref_mut(), None)?;
            let tried = Instant::now();
            self.step(gradients, teacher.as_deref_mut(), None)?;
            let step = tried.elapsed().as_secs_f64();
            let tried = Instant::now();
            self.measure(teacher)?;
            let each = step + tried.elapsed().as_secs_f64() / self.settings.every as f64;
            let room = (60.0 * minutes - clock.seconds()) * ON_TIME;
            self.state.reached.steps = (room / each).max(1.0) as u64;
        }
        Ok(self.state.reached.steps)
    }

    fn is_late(&self, clock: &Clock) -> bool {
        matches!(self.settings.length, Length::Minutes(minutes) if clock.seconds() >= 60.0 * minutes)
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

    /// The sequences of a step.
    fn drawn(&self, step: u64) -> Result<Drawn> {
        let Settings { seed, batch, .. } = *self.settings;
        let Some(cache) = self.cache else {
            let (inputs, targets) = self.tokens.batch(seed, step, batch);
            return Ok(Drawn { inputs, targets, told: None });
        };
        let (mut inputs, mut targets, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for n in self.tokens.drawn(seed, step, batch) {
            let (these, after) = self.tokens.fixed(n);
            inputs.extend_from_slice(these);
            targets.extend_from_slice(after);
            told.extend(cache.sequence(n)?);
        }
        Ok(Drawn { inputs, targets, told: Some(told) })
    }

    /// The next step. Without moments, and the steps of the run, it changes nothing.
    fn step(
        &mut self,
        gradients: &mut Gradients,
        mut teacher: Option<&mut Teacher<'_>>,
        update: Option<(&mut AdamW, u64)>,
    ) -> Result<Metric> {
        let settings = self.settings;
        let number = self.state.step() + 1;
        let Drawn { inputs, targets, told } = self.drawn(number - 1)?;
        let part = (TOGETHER / settings.context).max(1) * settings.context;
        gradients.clear();
        let mut sums = [0.0; 4];
        for (n, (inputs, targets)) in inputs.chunks(part).zip(targets.chunks(part)).enumerate() {
            if let Some(teacher) = teacher.as_mut().filter(|_| told.is_none()) {
                teacher.listen(inputs, settings.context)?;
            }
            let mut lesson = Lesson {
                teacher: teacher.as_deref_mut(),
                told: told.as_ref().map(|told| &told[n * part..][..targets.len()]),
                targets,
                rows: 0..targets.len(),
                loss: settings.loss,
                matching: settings.matching.as_ref(),
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
        let [loss, divergence, cross_entropy, far] = sums.map(|sum| sum / (settings.batch * settings.context) as f64);
        let (loss, hidden) = settings.matching.as_ref().map_or((loss, None), |matching| {
            let hidden = far / matching.pairs.len() as f64;
            (loss + f64::from(matching.weight) * hidden, Some(hidden))
        });
        let gradient = self.network.gradient_norm(gradients);
        if !loss.is_finite() || !gradient.is_finite() {
            return Err(Error::Diverged {
                step: number,
                loss,
                gradient,
                kept: self.state.saved().then(|| self.state.folder.clone()),
            });
        }
        let steps = update.as_ref().map_or(1, |(_, steps)| *steps);
        let lr = settings.rate(number, steps);
        if let Some((adam, _)) = update {
            let scale = (settings.clip / (gradient + 1e-6)).min(1.0) as f32;
            let [beta1, beta2] = settings.betas;
            let rates = Rates { lr: lr as f32, beta1, beta2, eps: settings.eps, decay: settings.decay, scale };
            adam.update(&mut self.network, gradients, &rates)?;
            self.state.reached.step = number;
        }
        let has_teacher = teacher.is_some() || told.is_some();
        let divergence = has_teacher.then_some(divergence);
        let cross_entropy = (!has_teacher || settings.loss.cross_entropy > 0.0).then_some(cross_entropy);
        Ok(Metric { step: number, steps, loss, divergence, hidden, cross_entropy, gradient, lr, heldout: None })
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
