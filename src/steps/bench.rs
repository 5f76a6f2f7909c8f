//! `tersor bench`.

use super::eval::scores;
use super::model::{self, Place};
use crate::bench::{Load, run as measure, try_out};
use crate::error::Result;
use crate::machine::{all_threads, peak_memory, restart_peak_memory};
use crate::model::{Room, Weights};
use crate::options::BenchArgs;
use crate::progress::{Unit, Watch, metered};
use crate::report::{BenchModel, BenchReport};
use crate::source::Source;
use crate::windows::Windows;
use std::path::PathBuf;
use std::time::Instant;

pub(crate) fn run(args: &BenchArgs, watch: &dyn Watch) -> Result<BenchReport> {
    let load = Load { prompt: args.prompt, tokens: args.tokens, repetitions: args.repetitions.max(1) };
    let counts = if args.threads.is_empty() { vec![all_threads()] } else { args.threads.clone() };
    let windows = windows(args)?;
    let context = windows.iter().flatten().map(|windows| windows.context).max().unwrap_or(0);
    let (mut models, mut rows) = (Vec::new(), Vec::new());
    for path in &args.models {
        let before = restart_peak_memory();
        let started = Instant::now();
        let source = Source::open(path)?;
        let (bytes, values) = (source.bytes(), source.tensors().iter().map(|t| t.shape.values()).sum::<u64>());
        let stored: u64 = source.tensors().iter().map(|t| t.bytes).sum();
        let room = Room { tokens: (load.prompt + load.tokens).max(context), at_once: load.prompt.max(context) };
        let place = Place { device: args.device.device, room, threads: counts[0] };
        let model = model::load(source, Weights::AsStored, place, watch)?;
        let loaded = started.elapsed().as_secs_f64();
        try_out(&model, &load)?;
        rows.push(BenchModel {
            model: path.clone(),
            bytes,
            bits_per_weight: 8.0 * stored as f64 / values.max(1) as f64,
            load: loaded,
            computed: model.computed().clone(),
            weights_memory: model.bytes(),
            peak_memory: before.zip(peak_memory()).map(|(before, peak)| peak.saturating_sub(before)),
            speeds: Vec::new(),
            quality: None,
        });
        models.push(model);
    }
    let total = (load.prompt + load.tokens) * (load.repetitions + 1) * models.len() * counts.len();
    let speeds = metered(watch, Unit::Tokens, total as u64, |meter| measure(&mut models, &counts, &load, meter))?;
    for (row, speeds) in rows.iter_mut().zip(speeds) {
        row.speeds = speeds;
    }
    let place = Place { device: args.device.device, room: Room::for_all(context), threads: all_threads() };
    let load_base = |base: &PathBuf| model::load(Source::open(base)?, Weights::Decoded, place, watch);
    let base = args.base.as_ref().map(load_base).transpose()?;
    for ((row, model), windows) in rows.iter_mut().zip(&models).zip(&windows) {
        let Some(windows) = windows else { continue };
        row.quality = Some(scores(model, base.as_ref(), windows, watch)?);
    }
    Ok(BenchReport::new(&load, rows))
}

/// The text as each model's tokenizer cuts it. What could be wrong with it is found before the clock starts.
fn windows(args: &BenchArgs) -> Result<Vec<Option<Windows>>> {
    let base = args.base.as_deref().map(Source::open).transpose()?;
    args.models.iter().map(|path| model::windows(&args.text, &Source::open(path)?, base.as_ref())).collect()
}
