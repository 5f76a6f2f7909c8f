//! What can be typed after `init`, `run` and `cache`.

use super::parse_size;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The recipe when none is named.
const RECIPE: &str = "tersor.toml";

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// A Hugging Face folder, a GGUF file, or org/name[@revision] from the local Hugging Face cache
    pub(crate) model: PathBuf,
    /// The recipe to write
    #[arg(short, long, value_name = "PATH", default_value = RECIPE)]
    pub(crate) output: PathBuf,
    /// Replace an existing recipe
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The recipe
    #[arg(default_value = RECIPE)]
    pub(crate) recipe: PathBuf,
    /// Print what would be done
    #[arg(long, conflicts_with_all = ["check", "depfile"])]
    pub(crate) dry_run: bool,
    /// Do nothing, and exit with 3 when there is something to do
    #[arg(long)]
    pub(crate) check: bool,
    /// Fail when anything differs from the lock file
    #[arg(long)]
    pub(crate) locked: bool,
    /// Replace outputs that this recipe did not make
    #[arg(long)]
    pub(crate) force: bool,
    /// Read all inputs again, in place of trusting their size, time and inode
    #[arg(long)]
    pub(crate) rehash: bool,
    /// Write a page with sizes, bits, errors and measurements
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write what the outputs depend on, as a rule for Make and Ninja
    #[arg(long, value_name = "FILE")]
    pub(crate) depfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArg,
    #[command(flatten)]
    pub(crate) artifacts: ArtifactsArg,
    /// Keep nothing for other runs
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,
    #[command(flatten)]
    pub(crate) threads: super::ThreadsArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A Hugging Face folder or a GGUF file
    pub(crate) model: PathBuf,
    /// The model that it was made from: errors are those of its tensors
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<PathBuf>,
    /// The page to write
    #[arg(short, long, value_name = "PATH", default_value = "report.html")]
    pub(crate) output: PathBuf,
    /// Replace an existing page
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) threads: super::ThreadsArg,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CacheArg {
    /// Where results are kept [default: tersor in the user's cache folder]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ArtifactsArg {
    /// Keep what a model was run for - students, statistics - in this folder too, and take it from there
    #[arg(long, value_name = "FOLDER")]
    pub(crate) artifacts: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
    #[command(flatten)]
    pub(crate) cache: CacheArg,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show where it is and what it holds
    Info,
    /// Take out what was not used for the longest time
    Prune {
        /// Bytes that may stay, such as 20G
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max: u64,
    },
}
