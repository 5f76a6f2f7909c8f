//! A student that has learnt, beside its teacher.

use super::eval;
use super::model::{self, Place};
use crate::bench::{Load, run as measure};
use crate::error::Result;
use crate::generate::{Request, Sampling, generate};
use crate::model::{Model, Weights};
use crate::progress::Silent;
use crate::progress::{Unit, Watch, metered};
use crate::report::{Compared, Comparison, Sample};
use crate::source::Source;
use crate::tokenizer::{Decoder, last_tokens, metadata_of};
use crate::windows::Windows;
use std::path::Path;

/// What is run to see how fast models are.
const LOAD: Load = Load { prompt: 128, tokens: 32, repetitions: 2 };
/// Texts that are gone on with.
const SAMPLES: usize = 3;
/// Tokens of the beginning, and of what follows.
const TOKENS: (usize, usize) = (32, 48);

/// A model with what its files say.
pub(crate) struct Known {
    model: Model,
    name: String,
    bytes: u64,
    weights: u64,
}

impl Known {
    /// Load it from `source`.
    pub(crate) fn load(source: Source, weights: Weights, place: Place, watch: &dyn Watch) -> Result<Known> {
        let (name, bytes) = (source.name.clone(), source.bytes());
        let values = source.tensors().iter().map(|t| t.shape.values()).sum();
        Ok(Known { model: model::load(source, weights, place, watch)?, name, bytes, weights: values })
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }
}

/// The figures of the student in `folder` and its teacher, and how both go on with the beginnings of `texts`.
pub(crate) fn compare(
    folder: &Path,
    teacher: Option<Known>,
    heldout: Option<&Windows>,
    texts: &[&[u32]],
    place: Place,
    watch: &dyn Watch,
) -> Result<Comparison> {
    let source = Source::open(folder)?;
    let metadata = metadata_of(&source)?.into_owned();
    let student = Known::load(source, Weights::AsStored, place, watch)?;
    let taught = teacher.is_some();
    let (mut models, mut rows) = (Vec::new(), Vec::new());
    for Known { model, name, bytes, weights } in teacher.into_iter().chain([student]) {
        rows.push(Compared { model: name, weights, bytes, prefill: 0.0, decode: 0.0, perplexity: None, kl: None });
        models.push(model);
    }
    let last = models.len() - 1;
    if let Some(windows) = heldout {
        let scores = eval::scores(&models[last], models.first().filter(|_| taught), windows, watch)?;
        rows[last].perplexity = Some(scores.perplexity.value);
        if let Some(divergence) = scores.divergence {
            rows[0].perplexity = Some(divergence.base_perplexity.value);
            rows[last].kl = Some(divergence.kl.mean);
        }
    }
    let mut samples = Vec::new();
    for text in texts.iter().take(SAMPLES) {
        let prompt = &text[..text.len().min(TOKENS.0)];
        let mut decoder = Decoder::new(folder, &metadata)?;
        let read = |decoder: &mut Decoder<'_>, ids: &[u32]| {
            ids.iter().map(|id| decoder.push(*id)).collect::<String>() + &decoder.finish()
        };
        let mut continuations = Vec::new();
        for (model, row) in models.iter().zip(&rows) {
            let request = Request {
                prompt,
                tokens: TOKENS.1,
                sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: 0 },
                last: &last_tokens(&metadata),
                vocabulary: decoder.len(),
            };
            let made = generate(model, &request, &Silent, &mut |_| true)?;
            continuations.push((row.model.clone(), read(&mut decoder, &made.tokens)));
        }
        samples.push(Sample { prompt: read(&mut decoder, prompt), continuations });
    }
    let total = (LOAD.prompt + LOAD.tokens) * (LOAD.repetitions + 1) * models.len();
    let speeds =
        metered(watch, Unit::Tokens, total as u64, |meter| measure(&mut models, &[place.threads], &LOAD, meter))?;
    for (row, speed) in rows.iter_mut().zip(speeds.iter().flatten()) {
        (row.prefill, row.decode) = (speed.prefill.median, speed.decode.median);
    }
    Ok(Comparison { models: rows, samples })
}
