//! Gradients of whole models against differences of their losses, over every family.

use std::ops::Range;
use tersor::error::Result;
use tersor::model::train::{Batch, Dropout, Gradients, Network, Objective};
use tersor::model::{Model, Session, Weights};
use tersor::progress::Silent;
use tersor::source::Source;
use tersor_kernels::Level;

const CONTEXT: usize = 24;
const SEQUENCES: usize = 3;

fn source(name: &str) -> Source {
    Source::open(format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR")).as_ref()).unwrap()
}

/// A model of every family that has a row in the table, with biases and with an output head of its own among them.
const MODELS: [&str; 3] = ["tiny-llama", "tiny-spm", "broken/hf-valid-qwen2"];

fn tokens(network: &Network) -> Vec<u32> {
    let vocabulary = network.parameters().iter().find(|p| p.name.contains("embed_tokens")).unwrap().shape[0];
    (0..CONTEXT * SEQUENCES).map(|n| ((n * n * 31 + 7 * n + 3) % vocabulary) as u32).collect()
}

/// Cross-entropy of the token after next, so that there is one for every row.
struct Entropy<'a> {
    tokens: &'a [u32],
    logits: std::sync::Mutex<Vec<(usize, Vec<f32>)>>,
}

impl Objective for Entropy<'_> {
    fn prepare(&mut self, _: Range<usize>) -> Result<()> {
        Ok(())
    }

    fn turn(&self, row: usize, logits: &mut [f32]) -> [f64; 3] {
        self.logits.lock().unwrap().push((row, logits.to_vec()));
        let top = logits.iter().fold(f32::MIN, |a, b| a.max(*b));
        let powers: Vec<f64> = logits.iter().map(|l| f64::from(l - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let target = self.tokens[(row + 5) % self.tokens.len()] as usize;
        logits.iter_mut().zip(&powers).for_each(|(l, p)| *l = (p / sum) as f32);
        logits[target] -= 1.0;
        [-(powers[target] / sum).ln(), 0.0, 0.0]
    }
}

fn losses(network: &Network, batch: &Batch<'_>, to: Option<&mut Gradients>) -> (f64, Vec<Vec<f32>>) {
    let mut objective = Entropy { tokens: batch.tokens, logits: Vec::new().into() };
    let sum = network.losses(batch, &mut objective, to).unwrap()[0];
    let mut logits = objective.logits.into_inner().unwrap();
    logits.sort_by_key(|(row, _)| *row);
    (sum, logits.into_iter().map(|(_, logits)| logits).collect())
}

fn batch(tokens: &[u32], dropout: Option<Dropout>, recompute: bool) -> Batch<'_> {
    Batch { tokens, context: CONTEXT, dropout, recompute }
}

fn bits(gradients: &Gradients) -> Vec<Vec<u32>> {
    gradients.iter().map(|g| g.unwrap_or_default().iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn predictions_are_those_of_the_model_that_runs() {
    for name in MODELS {
        let network = Network::load(&source(name), Level::best(), 2).unwrap();
        let tokens = tokens(&network);
        let (_, found) = losses(&network, &batch(&tokens, None, false), None);
        let model = Model::load(source(name), Weights::Decoded, Level::best(), 2, &Silent).unwrap();
        for (tokens, found) in tokens.chunks_exact(CONTEXT).zip(found.chunks_exact(CONTEXT)) {
            let mut session = Session::new(&model, CONTEXT).unwrap();
            let hidden = session.forward(tokens).unwrap();
            let mut wanted = Vec::new();
            model.logits(&hidden, &mut wanted).unwrap();
            let top = wanted.iter().fold(0f32, |a, b| a.max(b.abs()));
            for (found, wanted) in found.iter().flatten().zip(&wanted) {
                assert!((found - wanted).abs() <= 1e-5 * top, "{name}: {found} for {wanted}");
            }
        }
    }
}

/// Along its own gradient, the loss changes by the gradient's square, tensor by tensor; none is without.
#[test]
fn every_weight_has_its_gradient() {
    for name in MODELS {
        for dropout in [None, Some(Dropout { rate: 0.25, seed: 9 })] {
            let mut network = Network::load(&source(name), Level::best(), 2).unwrap();
            let tokens = tokens(&network);
            let batch = batch(&tokens, dropout, false);
            let mut gradients = network.gradients();
            losses(&network, &batch, Some(&mut gradients));
            for (n, gradient) in gradients.iter().enumerate() {
                let (gradient, parameter) = (gradient.unwrap(), network.parameters()[n].clone());
                let square: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
                assert!(square > 0.0, "{name}: {} has no gradient", parameter.name);
                let length: f64 = parameter.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let step = 2e-3 * length.max(0.1) / square.sqrt();
                let mut at = |by: f64| {
                    let moved = parameter.values.iter().zip(gradient);
                    network.parameters_mut()[n].values =
                        moved.map(|(v, g)| (f64::from(*v) + by * f64::from(*g)) as f32).collect();
                    losses(&network, &batch, None).0
                };
                let slope = (at(step) - at(-step)) / (2.0 * step);
                let off = (slope - square).abs() / square;
                assert!(off < 0.02, "{name}: {}: {slope} for {square}", parameter.name);
                network.parameters_mut()[n] = parameter;
            }
        }
    }
}

#[test]
fn neither_threads_nor_levels_nor_memory_change_a_bit() {
    let compute = |level, threads, recompute| {
        let network = Network::load(&source("tiny-llama"), level, threads).unwrap();
        let tokens = tokens(&network);
        let mut gradients = network.gradients();
        let dropout = Some(Dropout { rate: 0.1, seed: 4 });
        let (loss, _) = losses(&network, &batch(&tokens, dropout, recompute), Some(&mut gradients));
        (loss.to_bits(), network.gradient_norm(&gradients).to_bits(), bits(&gradients))
    };
    let wanted = compute(Level::best(), 1, false);
    assert!(compute(Level::best(), 3, false) == wanted, "threads");
    assert!(compute(Level::best(), 2, true) == wanted, "computed again");
    assert!(compute(Level::SCALAR, 2, false) == wanted, "level");
}
