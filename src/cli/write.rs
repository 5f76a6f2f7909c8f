//! What `quantize` and `convert` share: from recipe to report.

use super::args::{BesideArgs, ModelArgs, WriteArgs};
use super::interrupt::Writing;
use super::progress::{Unit, metered};
use super::{print, print_json};
use crate::build::{Build, Options};
use crate::error::Result;
use crate::recipe::Recipe;
use crate::report::{PlanReport, RunReport, render_plan, render_run};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::process::ExitCode;

/// Take over the options that every writing command has.
pub(super) fn with_model_options(recipe: Recipe, args: &ModelArgs, write: &WriteArgs) -> Recipe {
    let ModelArgs { rules, beside, allow_requantize, allow_non_finite } = args.clone();
    let max_file_bytes = write.split_max_size;
    with_beside(Recipe { rules, allow_requantize, allow_non_finite, max_file_bytes, ..recipe }, &beside)
}

/// Take over what shapes the output beside formats.
pub(super) fn with_beside(recipe: Recipe, args: &BesideArgs) -> Recipe {
    let BesideArgs { drop, overrides, pre, chat_template } = args.clone();
    Recipe { drop, overrides, pre, chat_template, ..recipe }
}

/// How to write.
pub(super) fn options(args: &WriteArgs) -> Options {
    Options {
        output: args.output.clone(),
        force: args.force,
        no_verify: args.no_verify || args.dry_run,
        threads: Some(args.threads.get()),
        memory: args.memory.map(|mib| u64::from(mib) << 20),
    }
}

/// Bytes that a build reads.
pub(super) fn bytes(build: &Build) -> u64 {
    build.source.tensors().iter().map(|t| t.bytes).sum()
}

/// Prepare, then write or show the plan.
pub(super) fn run(model: &Path, recipe: &Recipe, args: &WriteArgs) -> Result<ExitCode> {
    // The process ends with the command: taking a vocabulary of a hundred thousand texts apart would only cost time.
    let build = ManuallyDrop::new(Build::prepare(model, recipe, options(args))?);
    if args.dry_run {
        let report = PlanReport::new(&build);
        if args.json {
            print_json(&report)
        } else {
            print(&render_plan(&report))
        }
        return Ok(ExitCode::SUCCESS);
    }
    let built = metered(args.quiet, Unit::Bytes, bytes(&build), |meter| {
        let _writing = Writing::begin();
        build.write(meter)
    })?;
    let report = RunReport::new(&build, &built);
    if args.json {
        print_json(&report)
    } else {
        print(&render_run(&report))
    }
    Ok(ExitCode::SUCCESS)
}
