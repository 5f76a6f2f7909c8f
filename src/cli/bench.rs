//! `tersor bench`.

use super::args::BenchArgs;
use super::progress::{Meter, Unit};
use super::{print, print_json, threads};
use crate::arch::Count;
use crate::bench::{Load, run as measure};
use crate::error::Result;
use crate::eval::{Scores, evaluate};
use crate::model::{Model, Weights, settings_of};
use crate::report::{BenchModel, BenchReport, render_bench, render_bench_markdown};
use crate::source::Source;
use crate::windows::{Text, Windows, check_vocabularies};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use tersor_kernels::Level;

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let load = Load { prompt: args.prompt, tokens: args.tokens, repetitions: args.repetitions.max(1) };
    let counts = if args.threads.is_empty() { vec![threads(None)] } else { args.threads.clone() };
    if let Some(text) = &args.text {
        check_texts(args, text)?;
    }
    let (mut models, mut rows) = (Vec::new(), Vec::new());
    for path in &args.models {
        let started = Instant::now();
        let source = Source::open(path)?;
        let (bytes, values) = (source.bytes(), source.tensors().iter().map(|t| t.shape.values()).sum::<u64>());
        let stored: u64 = source.tensors().iter().map(|t| t.bytes).sum();
        let model = Model::load(source, Weights::AsStored, Level::best(), counts[0])?;
        rows.push(BenchModel {
            model: path.clone(),
            bytes,
            bits_per_weight: 8.0 * stored as f64 / values.max(1) as f64,
            load: started.elapsed().as_secs_f64(),
            memory: model.bytes(),
            speeds: Vec::new(),
            quality: None,
        });
        models.push(model);
    }
    let total = (load.prompt + load.tokens) * (load.repetitions + 1) * models.len() * counts.len();
    let meter = Meter::new(args.quiet, Unit::Tokens, total as u64);
    let speeds = measure(&mut models, &counts, &load, &meter);
    meter.finish();
    for (row, speeds) in rows.iter_mut().zip(speeds?) {
        row.speeds = speeds;
    }
    if let Some(text) = &args.text {
        for (row, model) in rows.iter_mut().zip(&models) {
            row.quality = Some(quality(args, model, &row.model, text)?);
        }
    }
    let report = BenchReport::new(&load, rows);
    match (args.json, args.markdown) {
        (true, _) => print_json(&report),
        (_, true) => print(&render_bench_markdown(&report)),
        _ => print(&render_bench(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that could be wrong with the texts, before the clock starts.
fn check_texts(args: &BenchArgs, text: &Path) -> Result<()> {
    for path in &args.models {
        let source = Source::open(path)?;
        let rows = settings_of(&source)?[Count::Vocab];
        Windows::cut(&source, rows, &windowed(args, text))?;
        if let Some(base) = &args.base {
            let base = Source::open(base)?;
            check_vocabularies((&source, rows), (&base, settings_of(&base)?[Count::Vocab]))?;
        }
    }
    Ok(())
}

fn windowed<'a>(args: &BenchArgs, text: &'a Path) -> Text<'a> {
    Text { path: text, context: args.ctx, chunks: args.chunks }
}

fn quality(args: &BenchArgs, model: &Model, path: &Path, text: &Path) -> Result<Scores> {
    let source = Source::open(path)?;
    let rows = settings_of(&source)?[Count::Vocab];
    let windows = Windows::cut(&source, rows, &windowed(args, text))?;
    let load = |base: &Path| Model::load(Source::open(base)?, Weights::Decoded, Level::best(), threads(None));
    let base = args.base.as_deref().map(load).transpose()?;
    let meter = Meter::new(args.quiet, Unit::Tokens, (windows.iter().len() * windows.context) as u64);
    let scores = evaluate(model, base.as_ref(), &windows, &meter);
    meter.finish();
    scores
}
