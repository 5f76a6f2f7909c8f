//! What can be typed after `distill` and `train`.

use super::{WriteArgs, at_least_one};
use crate::distill::{Divergence, Schedule};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, Args)]
pub(in crate::cli) struct DistillArgs {
    /// Who teaches: a Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(in crate::cli) teacher: PathBuf,
    /// Who learns: a Hugging Face folder, `depth=N` for N blocks of the teacher, evenly spread, or a config.json beside a
    /// tokenizer for weights by chance
    #[arg(long, value_name = "MODEL|depth=N|CONFIG")]
    pub(in crate::cli) student: StudentArg,
    /// How far the student's predictions are from the teacher's: forward KL, reverse KL, or Jensen-Shannon with --beta
    #[arg(long, value_enum, default_value_t = DivergenceArg::Forward)]
    pub(in crate::cli) divergence: DivergenceArg,
    /// The teacher's share in the mean that Jensen-Shannon compares with
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    pub(in crate::cli) beta: f32,
    /// Temperature of both models' predictions
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(in crate::cli) temperature: f32,
    /// Share of the cross-entropy with the text itself; the divergence has the rest
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub(in crate::cli) cross_entropy: f32,
    #[command(flatten)]
    pub(in crate::cli) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TrainArgs {
    /// What to train: a config.json beside a tokenizer, for weights by chance, or a Hugging Face folder, to go on from its
    /// weights
    pub(in crate::cli) config: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) training: TrainingArgs,
}

/// What every run that changes weights has.
#[derive(Debug, Args)]
pub(in crate::cli) struct TrainingArgs {
    /// Texts to learn from; of a .jsonl the texts in --field of its lines
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(in crate::cli) train: Vec<PathBuf>,
    /// Where the lines of a .jsonl have their text
    #[arg(long, default_value = "text")]
    pub(in crate::cli) field: String,
    /// Text that is only measured on; the best weights on it are written
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) text: Option<PathBuf>,
    /// Contexts of that text at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(in crate::cli) chunks: usize,
    /// Steps of the run
    #[arg(long, value_name = "N", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub(in crate::cli) steps: Option<u64>,
    /// Tokens to learn from, in place of --steps
    #[arg(long, value_name = "N")]
    pub(in crate::cli) tokens: Option<u64>,
    /// Sequences of a step
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(in crate::cli) batch: usize,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub(in crate::cli) ctx: usize,
    /// Learning rate after the warm-up
    #[arg(long, default_value_t = 2e-4, value_parser = rate)]
    pub(in crate::cli) lr: f64,
    /// Learning rate of the last step
    #[arg(long, value_name = "LR", default_value_t = 0.0, value_parser = rate)]
    pub(in crate::cli) last_lr: f64,
    /// Steps in which the rate goes up from 0 [default: a twentieth of all]
    #[arg(long, value_name = "N")]
    pub(in crate::cli) warmup: Option<u64>,
    /// How the rate goes down
    #[arg(long, value_enum, default_value_t = ScheduleArg::Cosine)]
    pub(in crate::cli) schedule: ScheduleArg,
    /// How much of the mean of gradients stays
    #[arg(long, default_value_t = 0.9, value_parser = below_one)]
    pub(in crate::cli) beta1: f32,
    /// How much of the mean of their squares stays
    #[arg(long, default_value_t = 0.95, value_parser = below_one)]
    pub(in crate::cli) beta2: f32,
    /// Added to the root of that mean
    #[arg(long, default_value_t = 1e-8, value_parser = positive)]
    pub(in crate::cli) eps: f32,
    /// Decay of matrices, as a share of the learning rate
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(in crate::cli) weight_decay: f32,
    /// Norm of the gradient at most
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = rate)]
    pub(in crate::cli) clip: f64,
    /// Share of what each block adds, and of the embedding, that is left out by chance
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = below_one)]
    pub(in crate::cli) dropout: f32,
    /// Decides the order of the texts, and chance
    #[arg(long, default_value_t = 0)]
    pub(in crate::cli) seed: u64,
    /// Steps between two measurements, and between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) every: u64,
    /// Stop after so many measurements without a better one [default: never]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(in crate::cli) patience: u64,
    /// Compute blocks twice, to hold less memory
    #[arg(long)]
    pub(in crate::cli) recompute: bool,
    #[command(flatten)]
    pub(in crate::cli) write: WriteArgs,
}

#[derive(Clone, Debug)]
pub(in crate::cli) enum StudentArg {
    Depth(usize),
    Model(PathBuf),
}

impl FromStr for StudentArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("depth=").map(str::parse) {
            Some(Ok(blocks)) => Ok(StudentArg::Depth(blocks)),
            Some(Err(_)) => Err("write a number of blocks, such as depth=15".to_owned()),
            None => Ok(StudentArg::Model(text.into())),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum DivergenceArg {
    Forward,
    Reverse,
    Js,
}

impl DivergenceArg {
    pub(in crate::cli) fn with(self, beta: f32) -> Divergence {
        match self {
            DivergenceArg::Forward => Divergence::Forward,
            DivergenceArg::Reverse => Divergence::Reverse,
            DivergenceArg::Js => Divergence::JensenShannon { beta },
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum ScheduleArg {
    Cosine,
    Linear,
    Constant,
}

impl ScheduleArg {
    pub(in crate::cli) fn get(self) -> Schedule {
        match self {
            ScheduleArg::Cosine => Schedule::Cosine,
            ScheduleArg::Linear => Schedule::Linear,
            ScheduleArg::Constant => Schedule::Constant,
        }
    }
}

fn share(text: &str) -> Result<f32, String> {
    within(text, |x| (0.0..=1.0).contains(&x), "a share from 0 to 1")
}

fn below_one(text: &str) -> Result<f32, String> {
    within(text, |x| (0.0..1.0).contains(&x), "a share from 0 and below 1")
}

fn positive(text: &str) -> Result<f32, String> {
    within(text, |x| x > 0.0 && x.is_finite(), "a number above 0")
}

fn rate(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|x: &f64| *x >= 0.0 && x.is_finite());
    found.ok_or_else(|| "this is to be a number from 0 up".to_owned())
}

fn within(text: &str, fits: impl Fn(f32) -> bool, wanted: &str) -> Result<f32, String> {
    text.parse().ok().filter(|x| fits(*x)).ok_or_else(|| format!("this is to be {wanted}"))
}
