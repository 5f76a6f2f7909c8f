//! What can be asked for: options of the command line, and keys of recipes. No decisions here.

mod distill;
pub(crate) mod keys;
mod prune;
mod recipe;

pub(crate) use distill::{
    BesideArg, DistillArgs, FloatArg, LogitsArgs, StudentArg, TextsArgs, TrainArgs, TrainingArgs,
};
pub(crate) use prune::{AllocateArg, MethodArg, PruneArgs, ScopeArg, SensitivityArgs};
pub(crate) use recipe::{ArtifactsArg, CacheArg, CacheArgs, CacheCommand, InitArgs, ReportArgs, RunArgs};

use crate::conversion::{Fallback, FileType, Override, Rule};
use crate::machine::all_threads;
use crate::model::Choice;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use tersor_kernels::Format;

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(crate) model: PathBuf,
    /// File type, in llama-quantize's names; `tersor formats` lists them
    #[arg(short, long, default_value = DEFAULT_TYPE, value_parser = FileType::by_name, ignore_case = true)]
    pub(crate) r#type: &'static FileType,
    /// The type's base format throughout, without its exceptions
    #[arg(long)]
    pub(crate) pure: bool,
    /// Format of the output head
    #[arg(long, value_name = "FORMAT", value_parser = crate::conversion::written_format)]
    pub(crate) output_tensor_type: Option<&'static Format>,
    /// Format of the token embedding
    #[arg(long, value_name = "FORMAT", value_parser = crate::conversion::written_format)]
    pub(crate) token_embedding_type: Option<&'static Format>,
    /// Statistics of the model's activations: errors in columns with large inputs count for more
    #[arg(long, value_name = "FILE", conflicts_with = "calibration")]
    pub(crate) imatrix: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) calibration: CalibrationArgs,
    /// How long to look for the scales of blocks: best (least error), or fast (about half the time; the bytes of the
    /// reference where that does not look at all: q8_0, q4_0, q4_1, q5_0, q5_1 and mxfp4)
    #[arg(long, value_enum, default_value_t = EffortArg::Best)]
    pub(crate) effort: EffortArg,
    /// What rows get that do not divide into blocks: llama (llama-quantize's substitutes), auto (the format that loses
    /// least for at most half a bit more) or a format
    #[arg(long, default_value = "llama", value_name = "llama|auto|FORMAT")]
    pub(crate) fallback: Fallback,
    /// Make such rows an error
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) model_options: ModelArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// The type when none is given.
pub(crate) const DEFAULT_TYPE: &str = "q4_k_m";

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(crate) model: PathBuf,
    /// Container to write [default: the one that the model is not in]
    #[arg(long)]
    pub(crate) to: Option<ContainerArg>,
    /// Float format of the weights [default: as in the model; quantized weights become f32]
    #[arg(long)]
    pub(crate) dtype: Option<Dtype>,
    #[command(flatten)]
    pub(crate) model_options: ModelArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EffortArg {
    Fast,
    Best,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ContainerArg {
    Gguf,
    Safetensors,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
}

/// What decides the output beside formats.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Format of the tensors whose Hugging Face or GGUF name fits; may be repeated, the first match wins
    #[arg(long = "rule", value_name = "PATTERN=FORMAT")]
    pub(crate) rules: Vec<Rule>,
    #[command(flatten)]
    pub(crate) beside: BesideArgs,
    /// Quantize again what is already below 8 bits
    #[arg(long)]
    pub(crate) allow_requantize: bool,
    /// Keep NaN and infinity instead of failing
    #[arg(long)]
    pub(crate) allow_non_finite: bool,
}

/// What shapes the output beside formats; `verify` must be told again.
#[derive(Clone, Debug, Args)]
pub(crate) struct BesideArgs {
    /// Leave out the tensors whose name fits; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) drop: Vec<String>,
    /// Set a metadata key; TYPE is int, float, bool, str or a GGUF type such as u32; may be repeated
    #[arg(long = "override-kv", value_name = "KEY=TYPE:VALUE")]
    pub(crate) overrides: Vec<Override>,
    /// llama.cpp's name of the pre-tokenizer, where it cannot be told from tokenizer.json
    #[arg(long, value_name = "NAME")]
    pub(crate) pre: Option<String>,
    /// Chat template to store instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub(crate) chat_template: Option<PathBuf>,
}

/// How to write.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Output file or folder [default: ./<name>-<TYPE>.gguf, or ./<name>-hf for safetensors]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Print the plan and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace an existing output
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not read back what was written
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Split the output into files of at most this size, such as 40G or 500M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) split_max_size: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    /// Bound on the workers' buffers
    #[arg(long, value_name = "MiB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) memory: Option<u32>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ThreadsArg {
    /// Threads [default: all that the process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl ThreadsArg {
    /// Those that were asked for.
    pub(crate) fn given(self) -> Option<usize> {
        self.threads.map(usize::from)
    }

    /// Those that were asked for, or all that affinity and cgroup leave to the process.
    pub(crate) fn get(self) -> usize {
        self.threads.map_or_else(all_threads, usize::from)
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DeviceArg {
    /// What models are computed on: auto takes the first GPU, and the CPU where that cannot be
    #[arg(long, value_name = "auto|cpu|cuda:N", default_value_t, env = "TERSOR_DEVICE", hide_env_values = true)]
    pub(crate) device: Choice,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A Hugging Face folder, a safetensors file, a GGUF file, or org/name[@revision]
    pub(crate) path: PathBuf,
    /// Count zeros, which reads all weights
    #[arg(long)]
    pub(crate) sparsity: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The written GGUF file or folder
    pub(crate) output: PathBuf,
    /// The model that it was made from
    #[arg(long, value_name = "MODEL", required_unless_present = "rederive")]
    pub(crate) base: Option<PathBuf>,
    /// Make it again from the recipe in it, and compare byte for byte; paths of the recipe are relative to DIR [default: .]
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with_all = ["base", "imatrix", "text"])]
    pub(crate) rederive: Option<PathBuf>,
    /// The statistics that it was made with
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<PathBuf>,
    /// Text on which both tokenizers are compared too
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) beside: BesideArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArg,
    #[command(flatten)]
    pub(crate) artifacts: ArtifactsArg,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    pub(crate) a: PathBuf,
    /// What it is compared with
    pub(crate) b: PathBuf,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The text that statistics are collected on.
#[derive(Clone, Debug, Args)]
pub(crate) struct CalibrationArgs {
    /// Text to collect statistics on
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Tokens of a context of that text
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) ctx: usize,
    /// Contexts of that text at most [default: all]
    #[arg(long, value_name = "N", requires = "calibration")]
    pub(crate) chunks: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    #[arg(required_unless_present = "merge", requires = "calibration")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) text: CalibrationArgs,
    /// Add up the statistics of these files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) merge: Vec<PathBuf>,
    /// Output file, which llama-quantize reads too
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Replace an existing output
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    /// Bound on weights and hidden states; where the model does not fit, it is read block by block [default: what is free]
    #[arg(long, value_name = "MiB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) memory: Option<u32>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The text that models are measured on.
#[derive(Clone, Debug, Args)]
pub(crate) struct TextArgs {
    /// Text to measure perplexity on
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Tokens of a context of that text; the second half of each is scored
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) ctx: usize,
    /// Contexts of that text at most [default: all]
    #[arg(long, value_name = "N", requires = "text")]
    pub(crate) chunks: Option<usize>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("measure").required(true).multiple(true).args(["text", "tasks", "generate"]))]
pub(crate) struct EvalArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// The model to compare with, run with float activations
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<PathBuf>,
    /// Questions to ask: hellaswag, arc, piqa, lambada, or the name of a JSONL file with a prompt, choices and the number
    /// of the answer in each line
    #[arg(long, value_name = "TASK,TASK", value_delimiter = ',', requires = "data")]
    pub(crate) tasks: Vec<String>,
    /// Folder with the tasks' files
    #[arg(long, value_name = "DIR", requires = "tasks")]
    pub(crate) data: Option<PathBuf>,
    /// Examples before each question
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tasks")]
    pub(crate) shots: usize,
    /// Questions of each task at most, the first ones [default: all]
    #[arg(long, value_name = "N", requires = "tasks", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// JSONL file with a prompt and a reference in each line: what the model writes is compared, by ROUGE and BLEU
    #[arg(long, value_name = "FILE")]
    pub(crate) generate: Option<PathBuf>,
    /// Tokens to write at most after each prompt
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128, value_parser = at_least_one, requires = "generate")]
    pub(crate) tokens: usize,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct GenerateArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision]
    pub(crate) model: PathBuf,
    /// Text to go on from
    #[arg(short, long, value_name = "TEXT", group = "what")]
    pub(crate) prompt: Option<String>,
    /// Question to answer, in the model's chat template
    #[arg(long, value_name = "TEXT", group = "what")]
    pub(crate) chat: Option<String>,
    /// Instructions that stand before the question
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(crate) system: Option<String>,
    /// Tokens to write at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub(crate) tokens: usize,
    /// How far to stray from the most likely token; 0 always takes it
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// Choose among the fewest tokens that have this share of the probability
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = share)]
    pub(crate) top_p: f32,
    /// The same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    /// Nothing on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print as JSON when it is whole
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Hugging Face folders, GGUF files, or org/name[@revision]
    #[arg(required = true, value_name = "MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub(crate) prompt: usize,
    /// Tokens generated after it
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_one)]
    pub(crate) tokens: usize,
    /// Numbers of threads, such as 1,2 [default: all that the process may use]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = at_least_one)]
    pub(crate) threads: Vec<usize>,
    #[command(flatten)]
    pub(crate) device: DeviceArg,
    /// Times that each model runs, in turn with the others
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) repetitions: usize,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// The model to compare predictions on that text with
    #[arg(long, value_name = "MODEL", requires = "text")]
    pub(crate) base: Option<PathBuf>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print as a table in Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct FormatsArgs {
    #[command(subcommand)]
    pub(crate) one: Option<FormatsCommand>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FormatsCommand {
    /// Print layout, size, error and speed of a format
    Show {
        /// Its name, such as q4_k
        #[arg(value_name = "NAME", value_parser = crate::report::shown_format)]
        format: &'static Format,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

/// `40G`, `500M`, `1000000`: powers of a thousand, as llama.cpp's gguf-split counts them; `20GiB`: powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let units =
        [("KI", 1 << 10), ("MI", 1 << 20), ("GI", 1 << 30), ("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let upper = text.to_ascii_uppercase();
    let upper = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, unit) = units
        .iter()
        .find_map(|(suffix, size)| upper.strip_suffix(suffix).map(|digits| (digits, *size)))
        .unwrap_or((upper, 1));
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    size.ok_or_else(|| "write a number of bytes, or one with K, M or G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("40G"), Ok(40_000_000_000));
        assert_eq!(parse_size("1m"), Ok(1_000_000));
        assert_eq!(parse_size("17"), Ok(17));
        assert_eq!(parse_size("100MiB"), Ok(100 << 20));
        for bad in ["", "G", "-1", "1.5G", "99999999999G", "0"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
