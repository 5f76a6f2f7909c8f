//! Which blocks a model can do without.

use super::pieces::Reader;
use crate::error::{Error, Result, human_bytes};
use crate::eval::Tally;
use crate::machine::available_memory;
use crate::model::{Model, Observer, Session, Weights};
use crate::progress::{Progress, Silent};
use crate::windows::Windows;
use std::ops::Range;

/// Block influence: for each block, 1 less the mean cosine of what goes in and what comes out of it, over all tokens
/// (ShortGPT, arXiv 2403.03853). Blocks are read one after another. `progress` hears of tokens.
pub(super) fn influences(reader: &Reader<'_>, windows: &Windows) -> Result<Vec<f64>> {
    let mut observer = Observer::new(reader.source.clone(), windows.context, reader.level, reader.threads)?;
    let (layers, width) = (observer.layers(), observer.hidden());
    let needed = 8 * windows.total() * width as u64;
    if let Some(free) = available_memory().filter(|free| needed > *free) {
        let found = format!("{} is available for hidden states; lower `--chunks`", human_bytes(free));
        return Err(Error::Memory { needed: human_bytes(needed), threads: 1, found });
    }
    let mut states = observer.embed(windows.some(0..windows.iter().len()))?;
    let mut influences = Vec::with_capacity(layers);
    for layer in 0..layers {
        observer.load(layer)?;
        let mut sum = 0.0;
        for state in states.chunks_exact_mut(windows.context * width) {
            let before = state.to_vec();
            observer.run(layer, state)?;
            let tokens = before.chunks_exact(width).zip(state.chunks_exact(width));
            sum += tokens.map(|(a, b)| cosine(a, b)).sum::<f64>();
        }
        observer.unload(layer);
        influences.push(1.0 - sum / windows.total() as f64);
        advance(reader.progress, windows.total(), layer, layers)?;
    }
    Ok(influences)
}

/// A block's share of some tokens is done.
fn advance(progress: &dyn Progress, tokens: u64, step: usize, steps: usize) -> Result<()> {
    let done = |step: usize| tokens * step as u64 / steps as u64;
    progress.advance(done(step + 1) - done(step));
    if progress.cancelled() { Err(Error::Interrupted) } else { Ok(()) }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let product = (dot(a, a) * dot(b, b)).sqrt();
    if product > 0.0 { dot(a, b) / product } else { 0.0 }
}

/// Predictions of each context that are compared.
const POSITIONS: usize = 32;

/// The blocks whose removal costs least, one after another until `keep` are left: at each step every block that is left is
/// taken out in turn, and the divergence from the whole model's predictions is measured. Gives the removed blocks in that
/// order, each with the divergence that it leads to. `progress` hears of tokens.
pub(super) fn search(reader: &Reader<'_>, windows: &Windows, keep: usize) -> Result<Vec<(usize, f64)>> {
    let source = reader.source.clone();
    let model = Model::load(source, Weights::AsStored, reader.level, reader.threads, &Silent)?;
    let mut session = Session::new(&model, windows.context)?;
    let mut left: Vec<usize> = (0..model.layers()).collect();
    let steps = left.len() - keep;
    let base = whole(&model, &mut session, windows)?;
    let mut removed = Vec::new();
    for step in 0..steps {
        let mut tallies: Vec<Tally> = left.iter().map(|_| Tally::new(windows.vocabulary())).collect();
        for (window, base) in windows.iter().zip(&base) {
            let targets = following(window);
            let mut before = session.embed(window)?;
            for (n, tally) in tallies.iter_mut().enumerate() {
                let mut hidden = before.clone();
                session.through(left[n + 1..].iter().copied(), &mut hidden)?;
                let logits = predictions(&model, &session, &hidden, windows)?;
                tally.add(&targets, &logits, Some(base));
                session.through([left[n]], &mut before)?;
                if reader.progress.cancelled() {
                    return Err(Error::Interrupted);
                }
            }
        }
        advance(reader.progress, windows.total(), step, steps)?;
        let costs = tallies.into_iter().map(|tally| tally.scores().divergence.map_or(f64::NAN, |d| d.kl.mean));
        // Of equal ones the first.
        let (least, cost) = costs.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("some blocks are left");
        removed.push((left.remove(least), cost));
    }
    Ok(removed)
}

/// [`predictions`] of the whole model, context by context.
pub(super) fn whole(model: &Model, session: &mut Session<'_>, windows: &Windows) -> Result<Vec<Vec<f32>>> {
    let of = |window: &[u32]| {
        let mut hidden = session.embed(window)?;
        session.through(0..model.layers(), &mut hidden)?;
        predictions(model, session, &hidden, windows)
    };
    windows.iter().map(of).collect()
}

/// The tokens that follow the scored positions of a context.
pub(super) fn following(window: &[u32]) -> Vec<u32> {
    scored(window.len()).map(|at| window[at + 1]).collect()
}

/// Positions of a context whose predictions are compared, over its second half.
fn scored(context: usize) -> impl Iterator<Item = usize> {
    let Range { start, end } = context / 2..context - 1;
    let count = POSITIONS.min(end - start);
    (0..count).map(move |n| start + n * (end - start) / count)
}

/// Logits at the scored positions of a context.
pub(super) fn predictions(model: &Model, session: &Session<'_>, hidden: &[f32], windows: &Windows) -> Result<Vec<f32>> {
    let width = hidden.len() / windows.context;
    let some: Vec<f32> = scored(windows.context).flat_map(|at| &hidden[at * width..][..width]).copied().collect();
    let mut logits = Vec::new();
    model.logits(&session.normalized(&some)?, &mut logits)?;
    Ok(logits)
}
