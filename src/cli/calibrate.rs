//! `tersor calibrate`.

use super::args::{CalibrateArgs, CalibrationArgs};
use super::progress::{Meter, Unit};
use super::{print, threads};
use crate::calib::{Statistics, collect};
use crate::error::{Error, Result, count};
use crate::model::{Model, Weights};
use crate::source::Source;
use crate::windows::{Text, Windows};
use std::path::Path;
use std::process::ExitCode;
use tersor_kernels::Level;

pub(super) fn run(args: &CalibrateArgs) -> Result<ExitCode> {
    if args.output.exists() && !args.force {
        return Err(Error::Exists { path: args.output.clone() });
    }
    let mut all = args.merge.iter().map(|path| Statistics::read(path)).collect::<Result<Vec<_>>>()?.into_iter();
    let own = match (&args.model, &args.text.calibration) {
        (Some(model), Some(text)) => Some(statistics(model, text, &args.text, args.threads, args.quiet)?),
        _ => None,
    };
    let Some(mut sum) = own.or_else(|| all.next()) else {
        let problem = "nothing to do".to_owned();
        return Err(Error::Usage { problem, hint: "give a model and `--calibration`, or `--merge` files".into() });
    };
    all.try_for_each(|other| sum.merge(other))?;
    sum.write(&args.output, args.force)?;
    print(&format!(
        "{}: {} of {}\n",
        args.output.display(),
        count(sum.entries.len(), "tensor"),
        count(sum.chunks as usize, "context")
    ));
    Ok(ExitCode::SUCCESS)
}

/// Run the model over a text.
pub(super) fn statistics(
    model: &Path,
    text: &Path,
    args: &CalibrationArgs,
    wanted: Option<u16>,
    quiet: bool,
) -> Result<Statistics> {
    let source = Source::open(model)?;
    let windows = Windows::cut(&source, &Text { path: text, context: args.ctx, chunks: args.chunks })?;
    let model = Model::load(source, Weights::AsStored, Level::best(), threads(wanted))?;
    let meter = Meter::new(quiet, Unit::Tokens, windows.total());
    let found = collect(&model, &windows, text, &meter);
    meter.finish();
    found
}
