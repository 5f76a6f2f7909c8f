//! The clap tree: what can be typed. No decisions here.

mod distill;
mod prune;

pub(super) use distill::{
    BesideArg, DistillArgs, FloatArg, LogitsArgs, StudentArg, TextsArgs, TrainArgs, TrainingArgs,
};
pub(super) use prune::{AllocateArg, MethodArg, PruneArgs, ScopeArg, SensitivityArgs};

use crate::machine::all_threads;
use crate::recipe::{Fallback, FileType, Override, Rule};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use tersor_kernels::Format;

/// Makes trained models small: reads a Hugging Face checkpoint or GGUF, writes GGUF or safetensors.
#[derive(Debug, Parser)]
#[command(name = "tersor", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Quantize a model to GGUF
    Quantize(QuantizeArgs),
    /// Change the container and keep the precision
    Convert(ConvertArgs),
    /// Make weights zero, or take out blocks, heads and channels
    Prune(PruneArgs),
    /// Measure what it costs to prune or to quantize each block and matrix
    Sensitivity(SensitivityArgs),
    /// Let a student learn from a teacher's predictions
    Distill(DistillArgs),
    /// Keep what a teacher predicts, for students to learn from
    Logits(LogitsArgs),
    /// Let a model learn from text alone
    Train(TrainArgs),
    /// Show configuration, tensors, formats and bits per weight
    Inspect(InspectArgs),
    /// Compare a written model with the one it was made from
    Verify(VerifyArgs),
    /// Collect activation statistics, an importance matrix for `quantize`
    Calibrate(CalibrateArgs),
    /// Measure what a model still knows: perplexity, and divergence from a base model
    Eval(EvalArgs),
    /// Let a model write: after a text, or in answer to a question
    Generate(GenerateArgs),
    /// Measure how fast models run, beside each other
    Bench(BenchArgs),
    /// List the storage formats, or show one
    Formats(FormatsArgs),
    /// List the model families
    Archs(ListArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct QuantizeArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(super) model: PathBuf,
    /// File type, in llama-quantize's names; `tersor formats` lists them
    #[arg(short, long, default_value = DEFAULT_TYPE, value_parser = FileType::by_name, ignore_case = true)]
    pub(super) r#type: &'static FileType,
    /// The type's base format throughout, without its exceptions
    #[arg(long)]
    pub(super) pure: bool,
    /// Format of the output head
    #[arg(long, value_name = "FORMAT", value_parser = crate::recipe::written_format)]
    pub(super) output_tensor_type: Option<&'static Format>,
    /// Format of the token embedding
    #[arg(long, value_name = "FORMAT", value_parser = crate::recipe::written_format)]
    pub(super) token_embedding_type: Option<&'static Format>,
    /// Statistics of the model's activations: errors in columns with large inputs count for more
    #[arg(long, value_name = "FILE", conflicts_with = "calibration")]
    pub(super) imatrix: Option<PathBuf>,
    #[command(flatten)]
    pub(super) calibration: CalibrationArgs,
    /// How long to look for the scales of blocks: best (least error), or fast (about half the time; the bytes of the
    /// reference where that does not look at all: q8_0, q4_0, q4_1, q5_0, q5_1 and mxfp4)
    #[arg(long, value_enum, default_value_t = EffortArg::Best)]
    pub(super) effort: EffortArg,
    /// What rows get that do not divide into blocks: llama (llama-quantize's substitutes), auto (the format that loses
    /// least for at most half a bit more) or a format
    #[arg(long, default_value = "llama", value_name = "llama|auto|FORMAT")]
    pub(super) fallback: Fallback,
    /// Make such rows an error
    #[arg(long)]
    pub(super) strict: bool,
    #[command(flatten)]
    pub(super) model_options: ModelArgs,
    #[command(flatten)]
    pub(super) write: WriteArgs,
}

/// The type when none is given.
pub(super) const DEFAULT_TYPE: &str = "q4_k_m";

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(super) model: PathBuf,
    /// Container to write [default: the one that the model is not in]
    #[arg(long)]
    pub(super) to: Option<ContainerArg>,
    /// Float format of the weights [default: as in the model; quantized weights become f32]
    #[arg(long)]
    pub(super) dtype: Option<Dtype>,
    #[command(flatten)]
    pub(super) model_options: ModelArgs,
    #[command(flatten)]
    pub(super) write: WriteArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum EffortArg {
    Fast,
    Best,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ContainerArg {
    Gguf,
    Safetensors,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Dtype {
    F32,
    F16,
    Bf16,
}

/// What decides the output beside formats.
#[derive(Clone, Debug, Args)]
pub(super) struct ModelArgs {
    /// Format of the tensors whose Hugging Face or GGUF name fits; may be repeated, the first match wins
    #[arg(long = "rule", value_name = "PATTERN=FORMAT")]
    pub(super) rules: Vec<Rule>,
    #[command(flatten)]
    pub(super) beside: BesideArgs,
    /// Quantize again what is already below 8 bits
    #[arg(long)]
    pub(super) allow_requantize: bool,
    /// Keep NaN and infinity instead of failing
    #[arg(long)]
    pub(super) allow_non_finite: bool,
}

/// What shapes the output beside formats; `verify` must be told again.
#[derive(Clone, Debug, Args)]
pub(super) struct BesideArgs {
    /// Leave out the tensors whose name fits; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(super) drop: Vec<String>,
    /// Set a metadata key; TYPE is int, float, bool, str or a GGUF type such as u32; may be repeated
    #[arg(long = "override-kv", value_name = "KEY=TYPE:VALUE")]
    pub(super) overrides: Vec<Override>,
    /// llama.cpp's name of the pre-tokenizer, where it cannot be told from tokenizer.json
    #[arg(long, value_name = "NAME")]
    pub(super) pre: Option<String>,
    /// Chat template to store instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub(super) chat_template: Option<PathBuf>,
}

/// How to write.
#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    /// Output file or folder [default: ./<name>-<TYPE>.gguf, or ./<name>-hf for safetensors]
    #[arg(short, long, value_name = "PATH")]
    pub(super) output: Option<PathBuf>,
    /// Print the plan and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace an existing output
    #[arg(long)]
    pub(super) force: bool,
    /// Do not read back what was written
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Split the output into files of at most this size, such as 40G or 500M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) split_max_size: Option<u64>,
    #[command(flatten)]
    pub(super) threads: ThreadsArg,
    /// Bound on the workers' buffers
    #[arg(long, value_name = "MiB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) memory: Option<u32>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ThreadsArg {
    /// Threads [default: all that the process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl ThreadsArg {
    /// Those that were asked for, or all that affinity and cgroup leave to the process.
    pub(super) fn get(self) -> usize {
        self.threads.map_or_else(all_threads, usize::from)
    }
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A Hugging Face folder, a safetensors file, a GGUF file, or org/name[@revision]
    pub(super) path: PathBuf,
    /// Count zeros, which reads all weights
    #[arg(long)]
    pub(super) sparsity: bool,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The written GGUF file or folder
    pub(super) output: PathBuf,
    /// The model that it was made from
    #[arg(long, value_name = "MODEL")]
    pub(super) base: PathBuf,
    /// The statistics that it was made with
    #[arg(long, value_name = "FILE")]
    pub(super) imatrix: Option<PathBuf>,
    /// Text on which both tokenizers are compared too
    #[arg(long, value_name = "FILE")]
    pub(super) text: Option<PathBuf>,
    #[command(flatten)]
    pub(super) beside: BesideArgs,
    #[command(flatten)]
    pub(super) threads: ThreadsArg,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The text that statistics are collected on.
#[derive(Clone, Debug, Args)]
pub(super) struct CalibrationArgs {
    /// Text to collect statistics on
    #[arg(long, value_name = "FILE")]
    pub(super) calibration: Option<PathBuf>,
    /// Tokens of a context of that text
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(super) ctx: usize,
    /// Contexts of that text at most [default: all]
    #[arg(long, value_name = "N", requires = "calibration")]
    pub(super) chunks: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    #[arg(required_unless_present = "merge", requires = "calibration")]
    pub(super) model: Option<PathBuf>,
    #[command(flatten)]
    pub(super) text: CalibrationArgs,
    /// Add up the statistics of these files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) merge: Vec<PathBuf>,
    /// Output file, which llama-quantize reads too
    #[arg(short, long, value_name = "PATH")]
    pub(super) output: PathBuf,
    /// Replace an existing output
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) threads: ThreadsArg,
    /// Bound on weights and hidden states; where the model does not fit, it is read block by block [default: what is free]
    #[arg(long, value_name = "MiB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) memory: Option<u32>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// The text that models are measured on.
#[derive(Clone, Debug, Args)]
pub(super) struct TextArgs {
    /// Text to measure perplexity on
    #[arg(long, value_name = "FILE")]
    pub(super) text: Option<PathBuf>,
    /// Tokens of a context of that text; the second half of each is scored
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(super) ctx: usize,
    /// Contexts of that text at most [default: all]
    #[arg(long, value_name = "N", requires = "text")]
    pub(super) chunks: Option<usize>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("measure").required(true).multiple(true).args(["text", "tasks", "generate"]))]
pub(super) struct EvalArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) text: TextArgs,
    /// The model to compare with, run with float activations
    #[arg(long, value_name = "MODEL")]
    pub(super) base: Option<PathBuf>,
    /// Questions to ask: hellaswag, arc, piqa, lambada, or the name of a JSONL file with a prompt, choices and the number
    /// of the answer in each line
    #[arg(long, value_name = "TASK,TASK", value_delimiter = ',', requires = "data")]
    pub(super) tasks: Vec<String>,
    /// Folder with the tasks' files
    #[arg(long, value_name = "DIR", requires = "tasks")]
    pub(super) data: Option<PathBuf>,
    /// Examples before each question
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tasks")]
    pub(super) shots: usize,
    /// Questions of each task at most, the first ones [default: all]
    #[arg(long, value_name = "N", requires = "tasks", value_parser = at_least_one)]
    pub(super) limit: Option<usize>,
    /// JSONL file with a prompt and a reference in each line: what the model writes is compared, by ROUGE and BLEU
    #[arg(long, value_name = "FILE")]
    pub(super) generate: Option<PathBuf>,
    /// Tokens to write at most after each prompt
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128, value_parser = at_least_one, requires = "generate")]
    pub(super) tokens: usize,
    #[command(flatten)]
    pub(super) threads: ThreadsArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct GenerateArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    pub(super) model: PathBuf,
    /// Text to go on from
    #[arg(short, long, value_name = "TEXT", group = "what")]
    pub(super) prompt: Option<String>,
    /// Question to answer, in the model's chat template
    #[arg(long, value_name = "TEXT", group = "what")]
    pub(super) chat: Option<String>,
    /// Instructions that stand before the question
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(super) system: Option<String>,
    /// Tokens to write at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub(super) tokens: usize,
    /// How far to stray from the most likely token; 0 always takes it
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature)]
    pub(super) temperature: f32,
    /// Choose among the fewest tokens that have this share of the probability
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = share)]
    pub(super) top_p: f32,
    /// The same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) threads: ThreadsArg,
    /// Nothing on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print as JSON when it is whole
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Hugging Face folders, GGUF files, or org/name[@revision]
    #[arg(required = true, value_name = "MODEL")]
    pub(super) models: Vec<PathBuf>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub(super) prompt: usize,
    /// Tokens generated after it
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_one)]
    pub(super) tokens: usize,
    /// Numbers of threads, such as 1,2 [default: all that the process may use]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = at_least_one)]
    pub(super) threads: Vec<usize>,
    /// Times that each model runs, in turn with the others
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(super) repetitions: usize,
    #[command(flatten)]
    pub(super) text: TextArgs,
    /// The model to compare predictions on that text with
    #[arg(long, value_name = "MODEL", requires = "text")]
    pub(super) base: Option<PathBuf>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(super) json: bool,
    /// Print as a table in Markdown
    #[arg(long)]
    pub(super) markdown: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct FormatsArgs {
    #[command(subcommand)]
    pub(super) one: Option<FormatsCommand>,
    #[command(flatten)]
    pub(super) list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum FormatsCommand {
    /// Print layout, size, error and speed of a format
    Show {
        /// Its name, such as q4_k
        #[arg(value_name = "NAME", value_parser = crate::report::shown_format)]
        format: &'static Format,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "write a whole number above 0".to_owned())
}

fn temperature(text: &str) -> Result<f32, String> {
    // Below, logits divided by it would no longer be numbers.
    const LEAST: f32 = 1e-3;
    let fits = |t: &f32| *t == 0.0 || (LEAST..=100.0).contains(t);
    text.parse().ok().filter(fits).ok_or_else(|| format!("write 0, or a number from {LEAST} to 100"))
}

fn share(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|p| *p > 0.0 && *p <= 1.0).ok_or_else(|| "write a number above 0 and up to 1".to_owned())
}

/// `40G`, `500M`, `1000000`: powers of a thousand, as llama.cpp's gguf-split counts them.
fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let upper = text.to_ascii_uppercase();
    let (digits, unit) = units
        .iter()
        .find_map(|(suffix, size)| upper.strip_suffix(suffix).map(|digits| (digits, *size)))
        .unwrap_or((&upper, 1));
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    size.ok_or_else(|| "write a number of bytes, or one with K, M or G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("40G"), Ok(40_000_000_000));
        assert_eq!(parse_size("1m"), Ok(1_000_000));
        assert_eq!(parse_size("17"), Ok(17));
        for bad in ["", "G", "-1", "1.5G", "99999999999G", "0"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
