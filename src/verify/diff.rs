//! Two models beside each other, tensor by tensor.

use crate::arch::{Count, with_layer};
use crate::error::{Error, Result};
use crate::machine::in_parallel;
use crate::plan::Reorder;
use crate::progress::Progress;
use crate::source::{Origin, Source};
use crate::tensor::TensorId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tersor_kernels::Level;

/// How two models differ.
#[derive(Debug, serde::Serialize)]
pub struct Diff {
    /// See [`crate::SCHEMA`].
    pub schema: u32,
    /// The two.
    pub models: [PathBuf; 2],
    /// Bytes of their tensors.
    pub bytes: [u64; 2],
    /// Tensors that both have, under their names in GGUF where the family is known.
    pub tensors: Vec<Pair>,
    /// Tensors that only the first has, and only the second.
    pub alone: [Vec<String>; 2],
}

/// One tensor in both.
#[derive(Debug, serde::Serialize)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// Its dimensions, outermost first.
    pub shapes: [Vec<u64>; 2],
    /// How it is stored.
    pub formats: [&'static str; 2],
    /// Its bytes.
    pub bytes: [u64; 2],
    /// Root of the squares of the differences over the root of the first one's squares; nothing where shapes differ or a format
    /// has no decoder.
    pub relative_rmse: Option<f64>,
    /// Share of zeros, where values were compared.
    pub zeros: Option<[f64; 2]>,
}

/// Values that are held at a time, unless a row is longer.
const VALUES: u64 = 1 << 18;

/// Where a tensor is, and how its rows come into the order of a Hugging Face checkpoint.
type Place = (TensorId, Reorder);

/// Compare two models. `progress` hears of tensors' bytes.
///
/// # Errors
/// Files that cannot be read, [`Error::Interrupted`].
///
/// ```
/// use tersor::{progress::Silent, source::Source, verify::diff};
/// let model = Source::open("fixtures/tiny-llama".as_ref())?;
/// let found = diff(&[model.clone(), model], 1, &Silent)?;
/// assert!(found.tensors.iter().all(|pair| pair.relative_rmse == Some(0.0)));
/// # Ok::<(), tersor::Error>(())
/// ```
pub fn diff(models: &[Source; 2], threads: usize, progress: &dyn Progress) -> Result<Diff> {
    let [left, right] = [places(&models[0]), places(&models[1])];
    let both: Vec<(&String, [Place; 2])> =
        left.iter().filter_map(|(name, place)| Some((name, [*place, *right.get(name)?]))).collect();
    let tensors = in_parallel(threads, both.len(), |n| pair(models, both[n].0, both[n].1, progress))?;
    let alone = |own: &BTreeMap<String, Place>, other: &BTreeMap<String, Place>| {
        own.keys().filter(|name| !other.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    Ok(Diff {
        schema: crate::SCHEMA,
        models: models.each_ref().map(|source| source.path.clone()),
        bytes: models.each_ref().map(|source| source.tensors().iter().map(|t| t.bytes).sum()),
        tensors,
        alone: [alone(&left, &right), alone(&right, &left)],
    })
}

/// All tensors by the names that both containers share.
fn places(source: &Source) -> BTreeMap<String, Place> {
    let settings = source.settings().ok();
    let in_gguf = matches!(source.origin, Origin::Gguf { .. });
    let place = |n: usize, name: &str| {
        let rule = settings.as_ref().and_then(|settings| {
            let family = settings.architecture;
            if in_gguf { family.by_gguf(name) } else { family.by_hf(name) }
        });
        let order = rule.zip(settings.as_ref()).map_or(Reorder::None, |((rule, _), settings)| {
            Reorder::to_folder(rule.rows, in_gguf, settings[Count::HeadSize])
        });
        let name = rule.map_or_else(|| name.to_owned(), |(rule, layer)| with_layer(rule.gguf, layer));
        (name, (TensorId(n), order))
    };
    source.tensors().iter().enumerate().map(|(n, tensor)| place(n, &tensor.name)).collect()
}

fn pair(models: &[Source; 2], name: &str, places: [Place; 2], progress: &dyn Progress) -> Result<Pair> {
    let infos = [models[0].tensor(places[0].0), models[1].tensor(places[1].0)];
    let mut found = Pair {
        name: name.to_owned(),
        shapes: infos.map(|t| t.shape.dims().to_vec()),
        formats: infos.map(|t| t.format.name),
        bytes: infos.map(|t| t.bytes),
        relative_rmse: None,
        zeros: None,
    };
    if infos[0].shape == infos[1].shape && infos.iter().all(|t| t.format.decoder().is_some()) {
        let (rows, columns) = if infos[0].shape.rank() < 2 {
            (infos[0].shape.values(), 1)
        } else {
            (infos[0].shape.rows(), infos[0].shape.cols())
        };
        let some = (VALUES / columns.max(1)).max(1);
        let (mut error, mut energy, mut zeros) = (0.0, 0.0, [0u64; 2]);
        for first in (0..rows).step_by(some as usize) {
            let rows = first..rows.min(first + some);
            let [a, b] = [0, 1].map(|n| values(&models[n], places[n], rows.clone(), columns));
            let (a, b) = (a?, b?);
            for (a, b) in a.iter().zip(&b) {
                error += (f64::from(*a) - f64::from(*b)).powi(2);
                energy += f64::from(*a).powi(2);
                zeros[0] += u64::from(*a == 0.0);
                zeros[1] += u64::from(*b == 0.0);
            }
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
        }
        found.relative_rmse = Some(if error == 0.0 { 0.0 } else { (error / energy).sqrt() });
        found.zeros = Some(zeros.map(|zeros| zeros as f64 / infos[0].shape.values().max(1) as f64));
    }
    progress.advance(infos[0].bytes + infos[1].bytes);
    Ok(found)
}

/// Some rows, or values of a vector, in the order of a Hugging Face checkpoint.
fn values(source: &Source, (id, order): Place, rows: std::ops::Range<u64>, columns: u64) -> Result<Vec<f32>> {
    let tensor = source.tensor(id);
    let decode = tensor.format.decoder().ok_or_else(|| source.unreadable(id))?;
    let count = ((rows.end - rows.start) * columns) as usize;
    let bytes_of = |values: u64| values / tensor.format.block as u64 * tensor.format.bytes as u64;
    let mut values = vec![0.0; count];
    if order == Reorder::None {
        let mut bytes = vec![0; bytes_of(count as u64) as usize];
        // Vectors of blocks are read as a whole: their pieces are whole blocks, as these are far larger.
        source.read(id, bytes_of(rows.start * columns), &mut bytes)?;
        decode(Level::best(), &bytes, &mut values);
        return Ok(values);
    }
    let mut bytes = vec![0; bytes_of(columns) as usize];
    for (row, values) in rows.zip(values.chunks_exact_mut(columns as usize)) {
        source.read(id, bytes_of(order.source_row(row) * columns), &mut bytes)?;
        decode(Level::best(), &bytes, values);
    }
    Ok(values)
}
