//! `tersor eval`.

use super::args::EvalArgs;
use super::progress::{Meter, Unit};
use super::{print, print_json, threads};
use crate::error::Result;
use crate::eval::{Scores, evaluate};
use crate::model::{Model, Weights};
use crate::report::{EvalReport, render_eval};
use crate::source::Source;
use crate::windows::{Text, Windows};
use std::path::Path;
use std::process::ExitCode;
use tersor_kernels::Level;

pub(super) fn run(args: &EvalArgs) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    let windows = Windows::cut(&source, &Text { path: &args.text, context: args.ctx, chunks: args.chunks })?;
    if let Some(base) = &args.base {
        windows.check_base(&source, &Source::open(base)?)?;
    }
    let threads = threads(args.threads);
    let load = |path: &Path, weights| Model::load(Source::open(path)?, weights, Level::best(), threads);
    let base = args.base.as_deref().map(|base| load(base, Weights::Decoded)).transpose()?;
    let measure = |model: &Model| scores(model, base.as_ref(), &windows, args.quiet);
    let (scores, quantized) = {
        let model = load(&args.model, Weights::AsStored)?;
        (measure(&model)?, model.is_quantized())
    };
    let weights_only = match quantized {
        true => Some(measure(&load(&args.model, Weights::Decoded)?)?),
        false => None,
    };
    let report = EvalReport::new(&args.model, args.base.as_deref(), &args.text, &windows, scores, weights_only);
    if args.json {
        print_json(&report)
    } else {
        print(&render_eval(&report))
    }
    Ok(ExitCode::SUCCESS)
}

/// Score with a meter on stderr.
pub(super) fn scores(model: &Model, base: Option<&Model>, windows: &Windows, quiet: bool) -> Result<Scores> {
    let meter = Meter::new(quiet, Unit::Tokens, windows.total());
    let scores = evaluate(model, base, windows, &meter);
    meter.finish();
    scores
}
