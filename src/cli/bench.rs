//! `tersor bench`.

use super::args::BenchArgs;
use super::eval::scores;
use super::progress::{Meter, Unit};
use super::{print, print_json, threads};
use crate::bench::{Load, run as measure};
use crate::error::Result;
use crate::model::{Model, Weights};
use crate::report::{BenchModel, BenchReport, render_bench, render_bench_markdown};
use crate::source::Source;
use crate::windows::{Text, Windows};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tersor_kernels::Level;

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let load = Load { prompt: args.prompt, tokens: args.tokens, repetitions: args.repetitions.max(1) };
    let counts = if args.threads.is_empty() { vec![threads(None)] } else { args.threads.clone() };
    let windows = args.text.as_deref().map(|text| windows(args, text)).transpose()?;
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
    if let Some(windows) = &windows {
        let load = |base: &PathBuf| Model::load(Source::open(base)?, Weights::Decoded, Level::best(), threads(None));
        let base = args.base.as_ref().map(load).transpose()?;
        for ((row, model), windows) in rows.iter_mut().zip(&models).zip(windows) {
            row.quality = Some(scores(model, base.as_ref(), windows, args.quiet)?);
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

/// The text as each model's tokenizer cuts it. What could be wrong with it is found before the clock starts.
fn windows(args: &BenchArgs, text: &Path) -> Result<Vec<Windows>> {
    let base = args.base.as_deref().map(Source::open).transpose()?;
    let of_model = |path: &PathBuf| {
        let source = Source::open(path)?;
        let windows = Windows::cut(&source, &Text { path: text, context: args.ctx, chunks: args.chunks })?;
        base.iter().try_for_each(|base| windows.check_base(&source, base))?;
        Ok(windows)
    };
    args.models.iter().map(of_model).collect()
}
