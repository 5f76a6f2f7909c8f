//! `tersor eval`.

use super::args::EvalArgs;
use super::progress::{Meter, Unit};
use super::{print, print_json, threads};
use crate::arch::Count;
use crate::error::Result;
use crate::eval::evaluate;
use crate::model::{Model, Weights, settings_of};
use crate::report::{EvalReport, render_eval};
use crate::source::Source;
use crate::windows::{Text, Windows, check_vocabularies};
use std::path::Path;
use std::process::ExitCode;
use tersor_kernels::Level;

pub(super) fn run(args: &EvalArgs) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    let rows = settings_of(&source)?[Count::Vocab];
    let text = Text { path: &args.text, context: args.ctx, chunks: args.chunks };
    let windows = Windows::cut(&source, rows, &text)?;
    if let Some(base) = &args.base {
        let base = Source::open(base)?;
        check_vocabularies((&source, rows), (&base, settings_of(&base)?[Count::Vocab]))?;
    }
    let threads = threads(args.threads);
    let load = |path: &Path, weights| Model::load(Source::open(path)?, weights, Level::best(), threads);
    let base = args.base.as_deref().map(|base| load(base, Weights::Decoded)).transpose()?;
    let measure = |model: &Model| {
        let meter = Meter::new(args.quiet, Unit::Tokens, (windows.iter().len() * windows.context) as u64);
        let scores = evaluate(model, base.as_ref(), &windows, &meter);
        meter.finish();
        scores
    };
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
