//! What a run over a text has done, in a file, so that a run that was killed goes on there.

use super::file::{Values, encode};
use crate::error::Result;
use crate::gguf::Metadata;
use crate::model::{Observer, Sums};
use crate::sink::write_file;
use crate::source::{Origin, Source};
use crate::windows::Windows;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tersor_kernels::Level;

/// Where a run is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Place {
    /// The first context that has not gone through all blocks.
    pub(super) window: usize,
    /// The block before which the hidden states are.
    pub(super) layer: usize,
    /// Of the contexts that run together, from `window` on; none before they start.
    pub(super) hidden: Vec<f32>,
}

/// A file that holds where a run is, and the sums up to there.
pub struct Keep {
    path: PathBuf,
    /// What the run is of; a file of another run is of no use.
    run: String,
    every: Duration,
    last: Instant,
}

const RUN: &str = "tersor.run";
const WINDOW: &str = "tersor.window";
const LAYER: &str = "tersor.layer";
const HIDDEN: &str = "hidden";

impl Keep {
    /// The file at `path`, for the run of `source` on `device` over `windows`; it is written anew after `every` so long.
    pub fn new(path: PathBuf, source: &Source, device: &str, windows: &Windows, every: Duration) -> Keep {
        let mut hash = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        add(env!("CARGO_PKG_VERSION").as_bytes());
        add(Level::best().name().as_bytes());
        add(device.as_bytes());
        for file in source.data_files() {
            let facts = fs::metadata(file).map_or([0; 3], |m| [m.size(), m.mtime() as u64, m.mtime_nsec() as u64]);
            add(file.canonicalize().unwrap_or_default().as_os_str().as_encoded_bytes());
            facts.iter().for_each(|fact| add(&fact.to_le_bytes()));
        }
        for window in windows.iter() {
            add(&window.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
        }
        Keep { path, run: hash.finalize().to_hex().to_string(), every, last: Instant::now() }
    }

    /// `save`, if it is time.
    pub(super) fn save_now_and_then(&mut self, observer: &Observer, place: &Place) -> Result<()> {
        if self.last.elapsed() < self.every {
            return Ok(());
        }
        self.save(observer, place)
    }

    /// Write the file, whole or not at all.
    pub(super) fn save(&mut self, observer: &Observer, place: &Place) -> Result<()> {
        write_file(&self.path, self.encode(observer, place)?, true)?;
        self.last = Instant::now();
        Ok(())
    }

    fn encode(&self, observer: &Observer, place: &Place) -> Result<Vec<u8>> {
        let mut metadata = Metadata::default();
        metadata.set("general.type", "progress");
        metadata.set(RUN, self.run.as_str());
        metadata.set(WINDOW, place.window as u32);
        metadata.set(LAYER, place.layer as u32);
        let all = (0..observer.layers()).map(|layer| observer.sums(layer)).collect::<Result<Vec<_>>>()?;
        let mut tensors = vec![(HIDDEN.to_owned(), Values::F32(&place.hidden))];
        for (layer, sums) in all.iter().enumerate() {
            let sums = sums.iter().enumerate();
            tensors.extend(sums.map(|(n, sums)| (sums_of(layer, n), Values::F64(sums))));
        }
        let some = tensors.into_iter().filter(|(_, values)| values.len() > 0);
        let tensors: Vec<_> = some.map(|(name, values)| (name, vec![values.len() as u64], values)).collect();
        Ok(encode(&metadata, &tensors))
    }

    /// Go on where the file says; `None`, and nothing changed, when it is not there, of another run or damaged.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub(super) fn resume(&self, observer: &mut Observer, windows: &Windows) -> Result<Option<Place>> {
        let Some((place, sums)) = self.read(observer, windows) else { return Ok(None) };
        sums.into_iter().enumerate().try_for_each(|(n, sums)| observer.set_sums(n, sums))?;
        Ok(Some(place))
    }

    fn read(&self, observer: &Observer, windows: &Windows) -> Option<(Place, Vec<Sums>)> {
        let source = Source::open(&self.path).ok()?;
        let Origin::Gguf { metadata } = &source.origin else { return None };
        let number = |key: &str| metadata.count(key).and_then(|n| usize::try_from(n).ok());
        let (window, layer) = (number(WINDOW)?, number(LAYER)?);
        if metadata.text(RUN) != Some(&self.run) || window > windows.iter().len() || layer >= observer.layers() {
            return None;
        }
        let state = windows.context * observer.hidden();
        let hidden = values(&source, HIDDEN, f32::from_le_bytes)?;
        let fits = hidden.len().is_multiple_of(state) && window + hidden.len() / state <= windows.iter().len();
        if !fits || layer > 0 && hidden.is_empty() {
            return None;
        }
        let mut all = Vec::new();
        for n in 0..observer.layers() {
            let mut sums = Sums::default();
            for (place, (sums, width)) in sums.iter_mut().zip(observer.widths()).enumerate() {
                *sums = values(&source, &sums_of(n, place), f64::from_le_bytes)?;
                let some = window > 0 || n < layer;
                if sums.len() != if some { width } else { 0 } {
                    return None;
                }
            }
            all.push(sums);
        }
        Some((Place { window, layer, hidden }, all))
    }
}

fn sums_of(layer: usize, place: usize) -> String {
    format!("blk.{layer}.{place}")
}

/// The values of a tensor of numbers of `N` bytes; none where there is no tensor, `None` where it is another one.
fn values<T, const N: usize>(source: &Source, name: &str, value: fn([u8; N]) -> T) -> Option<Vec<T>> {
    let Some(id) = source.find(name) else { return Some(Vec::new()) };
    let tensor = source.tensor(id);
    if tensor.format.bytes != N || tensor.format.block != 1 {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(tensor.bytes).ok()?];
    source.read(id, 0, &mut bytes).ok()?;
    Some(bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect())
}
