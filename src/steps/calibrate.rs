//! Statistics of a model over a text.

use crate::calib::{Keep, Statistics, collect};
use crate::error::{Error, Result};
use crate::model::{Choice, Computed, Observer};
use crate::options::{CalibrateArgs, CalibrationArgs, ThreadsArg};
use crate::progress::{Unit, Watch, metered};
use crate::sink::beside;
use crate::source::Source;
use crate::windows::{Text, Windows};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tersor_kernels::Level;

/// Between two times that progress is kept: losing so much is no harm, and writing takes far less.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Write statistics, of a model or of several files together.
pub(crate) fn run(args: &CalibrateArgs, watch: &dyn Watch) -> Result<(Statistics, Option<Computed>)> {
    if args.output.exists() && !args.force {
        return Err(Error::Exists { path: args.output.clone() });
    }
    let mut all = args.merge.iter().map(|path| Statistics::read(path)).collect::<Result<Vec<_>>>()?.into_iter();
    let run =
        Run { threads: args.threads, device: args.device.device, memory: args.memory, keep: Some(kept(&args.output)) };
    let own = match (&args.model, &args.text.calibration) {
        (Some(model), Some(text)) => Some(observed(model, text, &args.text, &run, watch)?),
        _ => None,
    };
    let (own, computed) = own.unzip();
    let Some(mut sum) = own.or_else(|| all.next()) else {
        let problem = "nothing to do".to_owned();
        return Err(Error::Usage { problem, hint: "give a model and `--calibration`, or `--merge` files".into() });
    };
    all.try_for_each(|other| sum.merge(other))?;
    sum.write(&args.output, args.force)?;
    remove(&kept(&args.output))?;
    Ok((sum, computed))
}

/// How a model is run over a text.
pub(crate) struct Run {
    pub(crate) threads: ThreadsArg,
    pub(crate) device: Choice,
    /// In MiB.
    pub(crate) memory: Option<u32>,
    /// Where progress is kept.
    pub(crate) keep: Option<PathBuf>,
}

/// The statistics of a model over a text.
pub(crate) fn statistics(
    model: &Path,
    text: &Path,
    args: &CalibrationArgs,
    run: &Run,
    watch: &dyn Watch,
) -> Result<Statistics> {
    observed(model, text, args, run, watch).map(|(statistics, _)| statistics)
}

/// The same, and where the model ran.
fn observed(
    model: &Path,
    text: &Path,
    args: &CalibrationArgs,
    run: &Run,
    watch: &dyn Watch,
) -> Result<(Statistics, Computed)> {
    let source = Source::open(model)?;
    let windows = Windows::cut(&source, &Text { path: text, context: args.ctx, chunks: args.chunks })?;
    let observer = Observer::new_on(run.device, source.clone(), windows.context, Level::best(), run.threads.get())?;
    let computed = observer.computed().clone();
    if let Some(told) = computed.told() {
        watch.say(&told);
    }
    let mut keep = run.keep.clone().map(|path| Keep::new(path, &source, &computed.device, &windows, SAVE_EVERY));
    let memory = run.memory.map(|mib| u64::from(mib) << 20);
    let found = metered(watch, Unit::Tokens, windows.total(), |meter| {
        collect(observer, &windows, text, memory, keep.as_mut(), meter)
    });
    if let (Err(Error::Interrupted), Some(path)) = (&found, &run.keep) {
        watch.say(&format!("the same command goes on from `{}`", path.display()));
    }
    found.map(|statistics| (statistics, computed))
}

/// Where progress towards `output` is kept.
fn kept(output: &Path) -> PathBuf {
    beside(output, ".progress")
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
