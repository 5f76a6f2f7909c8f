//! What can be typed after `prune` and `sensitivity`.

use super::{ThreadsArg, WriteArgs, at_least_one};
use crate::conversion::{FileType, Rule};
use crate::prune::{Sparsity, SparsityRule};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use tersor_kernels::Format;

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(crate) model: PathBuf,
    /// What goes: single weights by magnitude, or by magnitude and input (wanda), whole blocks (depth), channels and heads
    /// (width)
    #[arg(long, value_enum)]
    pub(crate) method: MethodArg,
    /// Share of weights that become zero, such as 0.5, or how many stay of how many neighbours, such as 2:4; with PATTERN=
    /// before it for the tensors whose name fits; may be repeated, the first pattern that fits wins
    #[arg(long, value_name = "[PATTERN=]VALUE")]
    pub(crate) sparsity: Vec<SparsityRule>,
    /// Among which weights magnitudes are compared [default: row]
    #[arg(long, value_enum)]
    pub(crate) scope: Option<ScopeArg>,
    /// Statistics of the model's activations, for wanda and width
    #[arg(long, value_name = "FILE", conflicts_with = "calibration")]
    pub(crate) imatrix: Option<PathBuf>,
    /// How the blocks share the sparsity: all alike (uniform), less where weights stand out (owl), or less where `tersor
    /// sensitivity` measured that it costs more (its file) [default: uniform]
    #[arg(long, value_name = "uniform|owl|FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) allocate: Option<AllocateArg>,
    /// Number of blocks that stay
    #[arg(long, value_name = "N", conflicts_with = "drop")]
    pub(crate) keep: Option<usize>,
    /// Blocks that go, such as 20,22-25
    #[arg(long, value_name = "N,N-N", value_parser = blocks)]
    pub(crate) drop: Option<Blocks>,
    /// Choose blocks by the measured divergence without them, one after another
    #[arg(long, requires = "keep")]
    pub(crate) search: bool,
    /// Feed-forward channels that stay
    #[arg(long, value_name = "N")]
    pub(crate) ffn: Option<u64>,
    /// Query heads that stay, in whole groups
    #[arg(long, value_name = "N")]
    pub(crate) heads: Option<u64>,
    /// Hidden channels that stay
    #[arg(long, value_name = "N")]
    pub(crate) hidden: Option<u64>,
    /// Channels are rounded to a multiple of this [default: 32, and 256 for a type of blocks of 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub(crate) multiple: Option<u64>,
    /// Text that blocks are judged on, or that statistics are collected on
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    /// Text on which the pruned model is compared with the whole one
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Tokens of a context of both texts
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) ctx: usize,
    /// Contexts of each text at most [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) chunks: Option<usize>,
    /// Quantize too, to a GGUF file of this type
    #[arg(short, long, value_parser = FileType::by_name, ignore_case = true)]
    pub(crate) r#type: Option<&'static FileType>,
    /// Format of the tensors whose name fits; may be repeated, the first match wins
    #[arg(long = "rule", value_name = "PATTERN=FORMAT", requires = "type")]
    pub(crate) rules: Vec<Rule>,
    /// Make it an error when a format cannot hold a zero, or rows do not divide into blocks
    #[arg(long)]
    pub(crate) strict: bool,
    /// Keep what is not zero, and a bit for each place: smaller, for tersor and old versions of vLLM; with `--type q8_0` as
    /// codes of eight bits
    #[arg(long, value_enum, conflicts_with_all = ["rules", "strict"])]
    pub(crate) store: Option<StoreArg>,
    /// Write a picture of what goes, block by block
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// Numbers of blocks.
pub(crate) type Blocks = std::collections::BTreeSet<usize>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodArg {
    Magnitude,
    Wanda,
    Depth,
    Width,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StoreArg {
    Bitmask,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScopeArg {
    Row,
    Tensor,
    Global,
}

#[derive(Clone, Debug)]
pub(crate) enum AllocateArg {
    Uniform,
    Owl,
    File(PathBuf),
}

impl FromStr for AllocateArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "uniform" => AllocateArg::Uniform,
            "owl" => AllocateArg::Owl,
            path => AllocateArg::File(path.into()),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct SensitivityArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(crate) model: PathBuf,
    /// Text on which the changed model is compared with the whole one
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Sparsity of what is pruned
    #[arg(long, value_name = "VALUE", default_value = "0.5")]
    pub(crate) sparsity: Sparsity,
    /// Prune by magnitude times input, with these statistics, in place of magnitude
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<PathBuf>,
    /// Format of what is quantized
    #[arg(long, value_name = "FORMAT", default_value = "q4_0", value_parser = crate::conversion::written_format)]
    pub(crate) format: &'static Format,
    /// Only whole blocks, not each of their matrices too
    #[arg(long)]
    pub(crate) blocks: bool,
    /// Tokens of a context
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) ctx: usize,
    /// Contexts at most
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one)]
    pub(crate) chunks: usize,
    /// Output file
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Replace an existing output
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `20,22-25`.
fn blocks(text: &str) -> Result<Blocks, String> {
    const MOST: usize = 10_000;
    let one = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = first.trim().parse::<usize>().ok().zip(last.trim().parse::<usize>().ok())?;
        (first <= last && last < MOST).then_some(first..=last)
    };
    let ranges: Option<Vec<_>> = text.split(',').map(one).collect();
    let found = ranges.map(|ranges| ranges.into_iter().flatten().collect());
    found.ok_or_else(|| "write numbers of blocks and ranges of them, such as 20,22-25".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_blocks() {
        assert_eq!(blocks("20,22-24,0"), Ok([0, 20, 22, 23, 24].into()));
        for bad in ["", "a", "3-", "5-3", "1,,2", "0-99999999999"] {
            assert!(blocks(bad).is_err(), "{bad}");
        }
    }
}
