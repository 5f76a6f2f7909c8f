//! What decides a run besides model and texts.

use super::loss::Loss;
use super::matching::Matching;
use super::student::Recovery;

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
    /// Hidden states that are to come near the teacher's, beside it.
    pub matching: Option<Matching>,
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// How long the whole run is.
    pub length: Length,
    /// Steps in which the rate goes up from 0; a twentieth of all where it is not given.
    pub warmup: Option<u64>,
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
    /// See [`crate::model::train::Batch::recompute`].
    pub recompute: bool,
    /// Only so much learns; all of the student without it.
    pub recover: Option<Recovery>,
    /// Student and teacher multiply in bf16, with sums in f32.
    pub matmul_bf16: bool,
    /// The student computes with weights of bf16, see [`super::halve`].
    pub bf16: bool,
    /// The name of the file type whose rounding the student computes with, see [`super::round`].
    pub quantize: Option<&'static str>,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// As many as come to be about so many minutes by the time that the first one takes, which is tried out before; not one
    /// begins after that time.
    Minutes(f64),
}

impl Settings {
    /// The learning rate of a step, which count from 1.
    pub(super) fn rate(&self, step: u64, steps: u64) -> f64 {
        let warmup = self.warmup.unwrap_or(steps.div_ceil(20)).min(steps);
        if step <= warmup {
            return self.lr * step as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
        let left = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Schedule::Linear => 1.0 - done,
            Schedule::Constant => 1.0,
        };
        self.last_lr + (self.lr - self.last_lr) * left
    }
}
