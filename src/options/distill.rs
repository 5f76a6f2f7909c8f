//! What can be typed after `distill` and `train`.

use super::{DeviceArg, ThreadsArg, WriteArgs, at_least_one};
use crate::conversion::FileType;
use crate::distill::{Beside, Divergence, LayerMap, Schedule};
use crate::model::train::Nearness;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, Args)]
pub(crate) struct DistillArgs {
    /// Who teaches: a Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache; `none` to
    /// learn from the text alone
    pub(crate) teacher: PathBuf,
    /// Who learns: a Hugging Face folder; `depth=N` for N blocks of the teacher, evenly spread, `ffn=N`, `heads=N` and
    /// `hidden=N` for the strongest channels and heads of it, with commas between them; or a config.json beside a tokenizer for
    /// weights by chance
    #[arg(long, value_name = "MODEL|depth=N,ffn=N,...|CONFIG")]
    pub(crate) student: StudentArg,
    /// How far the student's predictions are from the teacher's: forward KL, reverse KL, or Jensen-Shannon with --beta
    #[arg(long, value_enum, default_value_t = DivergenceArg::Forward)]
    pub(crate) divergence: DivergenceArg,
    /// The teacher's share in the mean that Jensen-Shannon compares with
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    pub(crate) beta: f32,
    /// Temperature of both models' predictions
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(crate) temperature: f32,
    /// Share of the cross-entropy with the text itself; the divergence has the rest
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub(crate) cross_entropy: f32,
    /// Bring the hidden states after blocks near the teacher's, too: by mean squared difference, or by cosine
    #[arg(long, value_enum)]
    pub(crate) hidden: Option<NearnessArg>,
    /// What the distance of hidden states counts beside the other losses
    #[arg(long, default_value_t = 1.0, value_parser = positive, requires = "hidden")]
    pub(crate) hidden_weight: f32,
    /// Which blocks are matched: all of the student, evenly spread over the teacher's (uniform), the last ones, or pairs of
    /// a block of the student and one of the teacher, such as 0:1,5:11
    #[arg(long, value_name = "uniform|last|N:N,...", default_value = "uniform", requires = "hidden", value_parser = layer_map)]
    pub(crate) layer_map: LayerMap,
    /// Learn from what `tersor logits` wrote for the same teacher and texts, in place of running it
    #[arg(long, value_name = "FOLDER", conflicts_with = "hidden")]
    pub(crate) logits: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogitsArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(crate) teacher: PathBuf,
    #[command(flatten)]
    pub(crate) texts: TextsArgs,
    /// Probabilities that are kept of each prediction
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub(crate) top_k: usize,
    /// Temperature of the predictions, that of the run that is to learn from them
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub(crate) temperature: f32,
    /// Output folder; where it has a part of the same predictions, they are gone on with
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What is learnt from.
#[derive(Debug, Args)]
pub(crate) struct TextsArgs {
    /// Texts to learn from; of a .jsonl the texts in --field of its lines
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) train: Vec<PathBuf>,
    /// Where the lines of a .jsonl have their text
    #[arg(long, default_value = "text")]
    pub(crate) field: String,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub(crate) ctx: usize,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// What to train: a config.json beside a tokenizer, for weights by chance, or a Hugging Face folder, to go on from its
    /// weights
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

/// What every run that changes weights has.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    #[command(flatten)]
    pub(crate) texts: TextsArgs,
    /// Text that is only measured on; the best weights on it are written
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Contexts of that text at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(crate) chunks: usize,
    /// Steps of the run
    #[arg(long, value_name = "N", value_parser = some_steps(), required_unless_present_any = ["tokens", "minutes"], conflicts_with_all = ["tokens", "minutes"])]
    pub(crate) steps: Option<u64>,
    /// Tokens to learn from, in place of --steps
    #[arg(long, value_name = "N", value_parser = some_steps(), conflicts_with = "minutes")]
    pub(crate) tokens: Option<u64>,
    /// Time to learn for, in place of --steps: as many as a step that is tried out lets expect
    #[arg(long, value_name = "N", value_parser = minutes)]
    pub(crate) minutes: Option<f64>,
    /// Let only norms and biases learn (norms), with a factor for each row of the blocks' Linears (scales), or with low-rank
    /// adapters of them (alpha is twice the rank where it is not given). OUT has all of it merged, OUT.adapter the adapters as
    /// PEFT loads them
    #[arg(long, value_name = "lora:RANK[:ALPHA]|scales|norms")]
    pub(crate) recover: Option<BesideArg>,
    /// Linears with adapters or factors, by the last part of their names, such as q_proj,v_proj [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "recover")]
    pub(crate) recover_targets: Vec<String>,
    /// What the student computes with: its weights, or their rounding to bf16, the format that it is mostly written in; what
    /// learns is f32
    #[arg(long, value_enum, default_value_t = FloatArg::F32, conflicts_with = "quantize")]
    pub(crate) weights: FloatArg,
    /// What student and teacher multiply; sums are f32. Products of bf16 are several times as fast on CPUs with AMX, and
    /// slower on others, with the same bits
    #[arg(long, value_enum, default_value_t = FloatArg::F32)]
    pub(crate) matmul: FloatArg,
    /// Compute with the weights rounded as `tersor quantize` will round them to a file of this type
    #[arg(long, value_name = "TYPE", value_parser = FileType::by_name, ignore_case = true)]
    pub(crate) quantize: Option<&'static FileType>,
    /// Sequences of a step
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// Learning rate after the warm-up
    #[arg(long, default_value_t = 2e-4, value_parser = rate)]
    pub(crate) lr: f64,
    /// Learning rate of the last step
    #[arg(long, value_name = "LR", default_value_t = 0.0, value_parser = rate)]
    pub(crate) last_lr: f64,
    /// Steps in which the rate goes up from 0 [default: a twentieth of all]
    #[arg(long, value_name = "N")]
    pub(crate) warmup: Option<u64>,
    /// How the rate goes down
    #[arg(long, value_enum, default_value_t = ScheduleArg::Cosine)]
    pub(crate) schedule: ScheduleArg,
    /// How much of the mean of gradients stays
    #[arg(long, default_value_t = 0.9, value_parser = below_one)]
    pub(crate) beta1: f32,
    /// How much of the mean of their squares stays
    #[arg(long, default_value_t = 0.95, value_parser = below_one)]
    pub(crate) beta2: f32,
    /// Added to the root of that mean
    #[arg(long, default_value_t = 1e-8, value_parser = positive)]
    pub(crate) eps: f32,
    /// Decay of matrices, as a share of the learning rate
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) weight_decay: f32,
    /// Norm of the gradient at most
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = rate)]
    pub(crate) clip: f64,
    /// Share of what each block adds, and of the embedding, that is left out by chance
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = below_one)]
    pub(crate) dropout: f32,
    /// Decides the order of the texts, and chance
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Steps between two measurements, and between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = some_steps())]
    pub(crate) every: u64,
    /// Stop after so many measurements without a better one [default: never]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) patience: u64,
    /// Only go on with a run that was begun, which the same command does anyway; without one, this is an error
    #[arg(long, conflicts_with = "force")]
    pub(crate) resume: bool,
    /// Compute blocks twice, to hold less memory
    #[arg(long)]
    pub(crate) recompute: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
}

#[derive(Clone, Debug)]
pub(crate) enum StudentArg {
    Cut(Cut),
    Model(PathBuf),
}

/// What a student has of its teacher; all of it where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) depth: Option<usize>,
    pub(crate) ffn: Option<u64>,
    pub(crate) heads: Option<u64>,
    pub(crate) hidden: Option<u64>,
}

impl FromStr for StudentArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sizes = ["depth=", "ffn=", "heads=", "hidden="];
        if !sizes.iter().any(|size| text.starts_with(size)) {
            return Ok(StudentArg::Model(text.into()));
        }
        let mut cut = Cut::default();
        for part in text.split(',') {
            let number = part.split_once('=').and_then(|(_, number)| number.parse::<u32>().ok()).filter(|n| *n > 0);
            let wrong = || format!("`{part}` is no size; write such as depth=15,ffn=1024,heads=6");
            let number = u64::from(number.ok_or_else(wrong)?);
            match part.split_once('=').map(|(name, _)| name) {
                Some("depth") => cut.depth = Some(number as usize),
                Some("ffn") => cut.ffn = Some(number),
                Some("heads") => cut.heads = Some(number),
                Some("hidden") => cut.hidden = Some(number),
                _ => return Err(wrong()),
            }
        }
        Ok(StudentArg::Cut(cut))
    }
}

/// `lora:16`, `lora:16:32`, `scales` or `norms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BesideArg(pub(crate) Beside);

impl FromStr for BesideArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lora = |numbers: &str| {
            let (rank, alpha) = numbers.split_once(':').map_or((numbers, None), |(rank, alpha)| (rank, Some(alpha)));
            let rank: u16 = rank.parse().ok().filter(|rank| *rank > 0)?;
            let alpha = alpha.map_or(Some(2.0 * f32::from(rank)), |alpha| alpha.parse().ok())?;
            (alpha > 0.0 && alpha.is_finite()).then_some(Beside::Lora { rank: rank.into(), alpha })
        };
        let beside = match text {
            "scales" => Some(Beside::Scales),
            "norms" => Some(Beside::Nothing),
            text => text.strip_prefix("lora:").and_then(lora),
        };
        beside
            .map(BesideArg)
            .ok_or("write scales, norms, or a rank such as lora:16, and if wanted alpha, such as lora:16:32")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloatArg {
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NearnessArg {
    Mse,
    Cosine,
}

impl NearnessArg {
    pub(crate) fn get(self) -> Nearness {
        match self {
            NearnessArg::Mse => Nearness::Mse,
            NearnessArg::Cosine => Nearness::Cosine,
        }
    }
}

/// `uniform`, `last`, or `0:1,5:11`.
fn layer_map(text: &str) -> Result<LayerMap, String> {
    let pair = |text: &str| {
        let (own, of) = text.split_once(':')?;
        own.parse().ok().zip(of.parse().ok())
    };
    match text {
        "uniform" => Ok(LayerMap::Uniform),
        "last" => Ok(LayerMap::Last),
        pairs => {
            let pairs: Option<Vec<_>> = pairs.split(',').map(pair).collect();
            pairs.map(LayerMap::Listed).ok_or_else(|| "write uniform, last, or pairs such as 0:1,5:11".to_owned())
        }
    }
}

/// A whole number that is not 0.
fn some_steps() -> clap::builder::RangedU64ValueParser {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DivergenceArg {
    Forward,
    Reverse,
    Js,
}

impl DivergenceArg {
    pub(crate) fn with(self, beta: f32) -> Divergence {
        match self {
            DivergenceArg::Forward => Divergence::Forward,
            DivergenceArg::Reverse => Divergence::Reverse,
            DivergenceArg::Js => Divergence::JensenShannon { beta },
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScheduleArg {
    Cosine,
    Linear,
    Constant,
}

impl ScheduleArg {
    pub(crate) fn get(self) -> Schedule {
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

fn minutes(text: &str) -> Result<f64, String> {
    rate(text).ok().filter(|minutes| *minutes > 0.0).ok_or_else(|| "this is to be a number above 0".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|x: &f64| *x >= 0.0 && x.is_finite());
    found.ok_or_else(|| "this is to be a number from 0 up".to_owned())
}

fn within(text: &str, fits: impl Fn(f32) -> bool, wanted: &str) -> Result<f32, String> {
    text.parse().ok().filter(|x| fits(*x)).ok_or_else(|| format!("this is to be {wanted}"))
}
