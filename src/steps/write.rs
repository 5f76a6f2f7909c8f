//! What every step that writes a model shares.

use crate::conversion::Conversion;
use crate::error::Result;
use crate::options::{BesideArgs, ModelArgs, WriteArgs};
use crate::progress::{Unit, Watch, metered};
use crate::report::{PlanReport, RunReport, render_plan, render_run};
use crate::run::Reuse;
use crate::source::BUILT;
use crate::writing::{self, Build, Built, Options};
use serde::Serialize;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Take over the options that every writing command has.
pub(crate) fn with_model_options(conversion: Conversion, args: &ModelArgs, write: &WriteArgs) -> Conversion {
    let ModelArgs { rules, beside, allow_requantize, allow_non_finite } = args.clone();
    let max_file_bytes = write.split_max_size;
    with_beside(Conversion { rules, allow_requantize, allow_non_finite, max_file_bytes, ..conversion }, &beside)
}

/// Take over what shapes the output beside formats.
pub(crate) fn with_beside(conversion: Conversion, args: &BesideArgs) -> Conversion {
    let BesideArgs { drop, overrides, pre, chat_template } = args.clone();
    Conversion { drop, overrides, pre, chat_template, ..conversion }
}

/// How to write.
pub(crate) fn options(args: &WriteArgs) -> Options {
    Options {
        output: args.output.clone(),
        force: args.force,
        no_verify: args.no_verify || args.dry_run,
        threads: Some(args.threads.get()),
        memory: args.memory.map(|mib| u64::from(mib) << 20),
        ..Options::default()
    }
}

/// Bytes that a build reads.
pub(crate) fn bytes(build: &Build) -> u64 {
    build.source.tensors().iter().map(|t| t.bytes).sum()
}

/// What only recipes know of an output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    /// Tensors of other outputs.
    pub(crate) reuse: Option<Arc<Reuse>>,
    /// Where a run goes on.
    pub(crate) journal: Option<PathBuf>,
    /// Hash what is written.
    pub(crate) hashed: bool,
    /// What the output tells of its recipe.
    pub(crate) build: Option<String>,
}

/// What came of writing a model.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Written {
    /// Nothing: the plan.
    Planned(PlanReport),
    /// A file or a folder.
    Done(RunReport),
}

impl Written {
    /// For a person.
    pub(crate) fn render(&self) -> String {
        match self {
            Written::Planned(report) => render_plan(report),
            Written::Done(report) => render_run(report),
        }
    }
}

/// Write what is ready.
pub(crate) fn write(build: &Build, watch: &dyn Watch) -> Result<Built> {
    let _hold = watch.hold();
    metered(watch, Unit::Bytes, bytes(build), |meter| build.write(meter))
}

/// A build that is ready. The process ends with the command: taking a vocabulary of a hundred thousand texts apart would only
/// cost time.
pub(crate) type Ready = ManuallyDrop<Build>;

/// Decide everything.
pub(crate) fn prepare(model: &Path, conversion: &Conversion, args: &WriteArgs, beside: Beside) -> Result<Ready> {
    let Beside { reuse, journal, hashed, build } = beside;
    let mut conversion = conversion.clone();
    conversion.told.extend(build.map(|text| (BUILT, text)));
    Build::prepare(model, &conversion, Options { reuse, journal, hashed, ..options(args) }).map(ManuallyDrop::new)
}

/// Write what is ready, or show the plan.
pub(crate) fn finish(build: &Build, args: &WriteArgs, watch: &dyn Watch) -> Result<Written> {
    if args.dry_run {
        return Ok(Written::Planned(PlanReport::new(build)));
    }
    let built = write(build, watch)?;
    Ok(Written::Done(RunReport::new(build, &built)))
}

/// Write several outputs of one model, which is read once.
pub(crate) fn write_all(builds: &[Ready], watch: &dyn Watch) -> Result<Vec<(Written, Built)>> {
    let _hold = watch.hold();
    let builds: Vec<&Build> = builds.iter().map(|build| &**build).collect();
    let total = builds.iter().map(|build| bytes(build)).sum();
    let built = metered(watch, Unit::Bytes, total, |meter| writing::write_all(&builds, meter))?;
    let report = |(build, built): (&&Build, Built)| (Written::Done(RunReport::new(build, &built)), built);
    Ok(builds.iter().zip(built).map(report).collect())
}
