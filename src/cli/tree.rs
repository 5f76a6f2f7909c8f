//! The commands.

use crate::options::{
    BenchArgs, CacheArgs, CalibrateArgs, ConvertArgs, DiffArgs, DistillArgs, EvalArgs, FormatsArgs, GenerateArgs,
    InitArgs, InspectArgs, ListArgs, LogitsArgs, PruneArgs, QuantizeArgs, ReportArgs, RunArgs, SensitivityArgs,
    TrainArgs, VerifyArgs,
};
use clap::{Parser, Subcommand};
use clap_complete::Shell;

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
    /// Compare two models tensor by tensor: format, size, error, zeros
    Diff(DiffArgs),
    /// Collect activation statistics, an importance matrix for `quantize`
    Calibrate(CalibrateArgs),
    /// Measure what a model still knows: perplexity, and divergence from a base model
    Eval(EvalArgs),
    /// Let a model write: after a text, or in answer to a question
    Generate(GenerateArgs),
    /// Measure how fast models run, beside each other
    Bench(BenchArgs),
    /// Write a commented recipe for a model
    Init(InitArgs),
    /// Make what a recipe asks for, as far as something changed
    Run(RunArgs),
    /// Write a page about a model: sizes, bits and errors by role and block
    Report(ReportArgs),
    /// Show or bound what runs keep for each other
    Cache(CacheArgs),
    /// Print the JSON Schema of recipes
    Schema,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
