//! Run a model over a text and watch its Linears.

use super::keep::{Keep, Place};
use super::{Entry, Statistics};
use crate::error::{Error, Result, human_bytes};
use crate::machine::available_memory;
use crate::model::Observer;
use crate::progress::Progress;
use crate::windows::Windows;
use std::path::Path;

/// The statistics of the model in `observer` on `windows`, which are of `text`; of its path they keep the name. `memory`
/// bounds the bytes of weights and hidden states: where the weights do not fit, block after block is read and run over as
/// many contexts as do. What was done is kept in `keep`, where the next run goes on. `progress` hears of tokens.
///
/// The figures do not depend on `memory`, `keep` or the number of threads.
///
/// # Errors
/// [`Error::Memory`] when not even one block fits, [`Error::Interrupted`].
pub fn collect(
    mut observer: Observer,
    windows: &Windows,
    text: &Path,
    memory: Option<u64>,
    mut keep: Option<&mut Keep>,
    progress: &dyn Progress,
) -> Result<Statistics> {
    let schedule = Schedule::new(&observer, windows, memory)?;
    let (all, state) = (windows.iter().len(), windows.context * observer.hidden());
    let kept = keep.as_ref().map(|keep| keep.resume(&mut observer, windows)).transpose()?;
    let mut place = kept.flatten().unwrap_or_default();
    progress.resume(done(&place, &observer, windows));
    while place.window < all {
        if place.hidden.is_empty() {
            place.hidden =
                observer.embed(windows.some(place.window..all.min(place.window.saturating_add(schedule.group))))?;
        }
        while place.layer < observer.layers() {
            if progress.cancelled() {
                keep.iter_mut().try_for_each(|keep| keep.save(&observer, &place))?;
                return Err(Error::Interrupted);
            }
            // A kept place may be in the middle of a group of contexts, with all weights in memory or not.
            observer.load(place.layer)?;
            let before = done(&place, &observer, windows);
            place.hidden.chunks_exact_mut(state).try_for_each(|hidden| observer.run(place.layer, hidden))?;
            if !schedule.resident {
                observer.unload(place.layer);
            }
            place.layer += 1;
            progress.advance(done(&place, &observer, windows) - before);
            if !schedule.resident && place.layer < observer.layers() {
                keep.iter_mut().try_for_each(|keep| keep.save_now_and_then(&observer, &place))?;
            }
        }
        place = Place { window: place.window + place.hidden.len() / state, ..Place::default() };
        keep.iter_mut().try_for_each(|keep| keep.save_now_and_then(&observer, &place))?;
    }
    statistics(&observer, windows, text)
}

/// What is in memory together.
struct Schedule {
    /// All weights.
    resident: bool,
    /// Hidden states of so many contexts.
    group: usize,
}

impl Schedule {
    fn new(observer: &Observer, windows: &Windows, memory: Option<u64>) -> Result<Schedule> {
        // What is free now, less a quarter for everything else.
        let bound = memory.or_else(|| Some(available_memory()? / 4 * 3)).unwrap_or(u64::MAX);
        let layers = (0..observer.layers()).map(|n| observer.bytes(n)).collect::<Result<Vec<u64>>>()?;
        let state = 4 * (windows.context * observer.hidden()) as u64;
        if layers.iter().sum::<u64>() + state <= bound {
            return Ok(Schedule { resident: true, group: 1 });
        }
        let needed = layers.into_iter().max().unwrap_or(0) + state;
        if needed > bound {
            let whose = if memory.is_some() { "--memory allows" } else { "there is room for" };
            let found = format!("{whose} {}", human_bytes(bound));
            return Err(Error::Memory { needed: human_bytes(needed), threads: 1, found });
        }
        // Keeping them takes as much again for a while.
        let group = 1 + (bound - needed) / (2 * state).max(1);
        Ok(Schedule { resident: false, group: usize::try_from(group).unwrap_or(usize::MAX) })
    }
}

/// Whole tokens that are done, a block being its share of a token.
fn done(place: &Place, observer: &Observer, windows: &Windows) -> u64 {
    let running = place.hidden.len() / observer.hidden() * place.layer / observer.layers().max(1);
    (place.window * windows.context + running) as u64
}

fn statistics(observer: &Observer, windows: &Windows, text: &Path) -> Result<Statistics> {
    let mut statistics = Statistics {
        datasets: text.file_name().map(|name| name.to_string_lossy().into_owned()).into_iter().collect(),
        chunks: windows.iter().len() as u32,
        context: windows.context as u32,
        ..Statistics::default()
    };
    for layer in 0..observer.layers() {
        for (names, sums) in observer.names(layer).zip(observer.sums(layer)?) {
            let squares: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
            let entry = Entry { squares, counts: vec![windows.total() as f32] };
            statistics.entries.extend(names.map(|name| (name, entry.clone())));
        }
    }
    Ok(statistics)
}
