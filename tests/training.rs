//! Gradients of whole models against differences of their losses, over every family.

use std::ops::Range;
use tersor::error::Result;
use tersor::model::train::{Batch, Dropout, Gradients, Nearness, Network, Objective, States};
use tersor::model::{Model, Session, Weights};
use tersor::progress::Silent;
use tersor::source::Source;
use tersor_kernels::{Encoding, Format, Level};

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
            session.forward(tokens).unwrap();
            let mut wanted = Vec::new();
            session.logits(0..CONTEXT, &mut wanted).unwrap();
            let top = wanted.iter().fold(0f32, |a, b| a.max(b.abs()));
            for (found, wanted) in found.iter().flatten().zip(&wanted) {
                assert!((found - wanted).abs() <= 1e-5 * top, "{name}: {found} for {wanted}");
            }
        }
    }
}

/// The square of a gradient of parameter `n`, and by how much `loss` changes along it: the same, if it is one.
fn along(network: &mut Network, n: usize, gradients: &Gradients, mut loss: impl FnMut(&Network) -> f64) -> (f64, f64) {
    let gradient = gradients.iter().nth(n).unwrap().unwrap();
    let size = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let square = size(gradient);
    assert!(square > 0.0, "{} has no gradient", network.parameters()[n].name);
    let own = network.parameters()[n].own().to_vec();
    let step = 2e-3 * size(&own).sqrt().max(0.1) / square.sqrt();
    let mut at = |by: f64| {
        let moved = own.iter().zip(gradient).map(|(v, g)| (f64::from(*v) + by * f64::from(*g)) as f32);
        *network.parameters_mut()[n].own_mut() = moved.collect();
        network.make().unwrap();
        loss(network)
    };
    let slope = (at(step) - at(-step)) / (2.0 * step);
    at(0.0);
    (square, slope)
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
            for n in 0..network.parameters().len() {
                let (square, slope) = along(&mut network, n, &gradients, |network| losses(network, &batch, None).0);
                let name = &network.parameters()[n].name;
                assert!((slope - square).abs() < 0.02 * square, "{name}: {slope} for {square}");
            }
        }
    }
}

/// What stands beside matrices has its gradient; they themselves have none.
#[test]
fn adapters_have_their_gradients() {
    let adapt = [
        |network: &mut Network| (2, network.adapt(3, 6.0, |name| !name.contains("k_proj"), 5)),
        |network: &mut Network| (1, network.scale_rows(|name| !name.contains("k_proj"))),
    ];
    for adapt in adapt {
        let mut network = Network::load(&source("broken/hf-valid-qwen2"), Level::best(), 2).unwrap();
        let plain = network.parameters().len();
        network.parameters_mut().iter_mut().for_each(|p| p.trains = p.shape.len() == 1);
        let (each, count) = adapt(&mut network);
        assert_eq!((network.parameters().len() - plain, count % 6), (each * count, 0));
        let tokens = tokens(&network);
        let batch = batch(&tokens, None, false);
        let (before, _) = losses(&network, &batch, None);
        // Upper matrices begin with zeros, which leave the lower ones without a gradient.
        for parameter in &mut network.parameters_mut()[plain..] {
            parameter.values.iter_mut().enumerate().for_each(|(n, v)| *v += 0.05 * (n as f32 * 0.7).sin());
        }
        network.make().unwrap();
        assert!(losses(&network, &batch, None).0 != before);
        let mut gradients = network.gradients();
        losses(&network, &batch, Some(&mut gradients));
        for n in (0..network.parameters().len()).filter(|n| gradients.iter().nth(*n).unwrap().is_some()) {
            let (square, slope) = along(&mut network, n, &gradients, |network| losses(network, &batch, None).0);
            assert!((slope - square).abs() < 0.02 * square, "{}: {slope} for {square}", network.parameters()[n].name);
        }
    }
}

/// Gradients go through rounding: they are those of the rounded weights, which agree with differences; and the rounded
/// weights are what the format can hold.
#[test]
fn rounding_lets_gradients_through() {
    let q4_0 = Format::by_name("q4_0").unwrap();
    let mut network = Network::load(&source("tiny-llama"), Level::best(), 2).unwrap();
    let mut rounded = Network::load(&source("tiny-llama"), Level::best(), 2).unwrap();
    for n in network.matrices().collect::<Vec<_>>() {
        network.round(n, vec![q4_0]);
    }
    // No grid is as none was asked for.
    network.round(0, Vec::new());
    network.make().unwrap();
    for (parameter, plain) in network.parameters().iter().zip(rounded.parameters_mut()) {
        let changed = parameter.values != plain.values;
        assert_eq!((changed, parameter.made.is_some()), (parameter.made.is_some(), parameter.name.contains("proj")));
        assert_eq!(parameter.own(), plain.values);
        plain.values.clone_from(&parameter.values);
        let mut bytes = vec![0; q4_0.size_of(plain.values.len() as u64).unwrap() as usize];
        if changed {
            q4_0.encoder().unwrap()(Level::best(), &plain.values, &Encoding::default(), &mut bytes).unwrap();
            q4_0.decoder().unwrap()(Level::best(), &bytes, &mut plain.values);
            let off = plain.values.iter().zip(&parameter.values).filter(|(a, b)| a != b).count();
            assert!(off * 50 < plain.values.len(), "{}: {off} values are not of the grid", parameter.name);
            plain.values.clone_from(&parameter.values);
        }
    }
    let tokens = tokens(&network);
    let gradients = [&network, &rounded].map(|network| {
        let mut gradients = network.gradients();
        losses(network, &batch(&tokens, None, false), Some(&mut gradients));
        bits(&gradients)
    });
    assert!(gradients[0] == gradients[1]);
}

/// The loss of hidden states, with and without a projection, by differences.
#[test]
fn hidden_states_have_their_gradients() {
    struct Far {
        rows: Vec<f32>,
        nearness: Nearness,
    }
    impl Objective for Far {
        fn prepare(&mut self, _: Range<usize>) -> Result<()> {
            Ok(())
        }
        fn turn(&self, _: usize, logits: &mut [f32]) -> [f64; 3] {
            logits.fill(0.0);
            [0.0; 3]
        }
        fn states(&self, block: usize) -> Option<States<'_>> {
            (block != 1).then_some(States { rows: &self.rows, nearness: self.nearness, scale: 1.0 })
        }
    }
    for (nearness, width) in
        [(Nearness::Mse, 256), (Nearness::Cosine, 256), (Nearness::Mse, 40), (Nearness::Cosine, 300)]
    {
        let mut network = Network::load(&source("tiny-llama"), Level::best(), 2).unwrap();
        let plain = network.parameters().len();
        network.project(width, 3);
        let tokens = tokens(&network);
        let rows = (0..tokens.len() * width).map(|n| (n as f32 * 0.31).sin()).collect();
        let mut objective = Far { rows, nearness };
        let mut run = |network: &Network| {
            let mut gradients = network.gradients();
            let sums = network.losses(&batch(&tokens, None, false), &mut objective, Some(&mut gradients)).unwrap();
            (sums[3], gradients)
        };
        let (_, gradients) = run(&network);
        let chosen = ["layers.0.mlp.up_proj", "layers.3.self_attn.q_proj", "layers.2.input_layernorm", "projection"];
        let is_chosen = |n: &usize| chosen.iter().any(|name| network.parameters()[*n].name.contains(name));
        let numbers: Vec<usize> = (0..network.parameters().len()).filter(is_chosen).collect();
        assert_eq!(numbers.len(), 3 + network.parameters().len() - plain);
        for n in numbers {
            let (square, slope) = along(&mut network, n, &gradients, |network| run(network).0);
            let name = &network.parameters()[n].name;
            assert!((slope - square).abs() < 0.02 * square, "{nearness:?} {width} {name}: {slope} for {square}");
        }
    }
}

/// Loss and gradients of tiny-llama, products in bf16 if wanted.
fn computed(bf16: bool, level: Level, threads: usize, recompute: bool) -> (f64, Gradients) {
    let mut network = Network::load(&source("tiny-llama"), level, threads).unwrap();
    if bf16 {
        network.multiply_in_bf16();
    }
    let tokens = tokens(&network);
    let mut gradients = network.gradients();
    let dropout = Some(Dropout { rate: 0.1, seed: 4 });
    let (loss, _) = losses(&network, &batch(&tokens, dropout, recompute), Some(&mut gradients));
    (loss, gradients)
}

#[test]
fn neither_threads_nor_levels_nor_memory_change_a_bit() {
    for bf16 in [false, true] {
        let compute = |level, threads, recompute| {
            let (loss, gradients) = computed(bf16, level, threads, recompute);
            (loss.to_bits(), bits(&gradients))
        };
        let wanted = compute(Level::best(), 1, false);
        assert!(compute(Level::best(), 3, false) == wanted, "threads, {bf16}");
        assert!(compute(Level::best(), 2, true) == wanted, "computed again, {bf16}");
        assert!(compute(Level::SCALAR, 2, false) == wanted, "level, {bf16}");
    }
}

#[test]
fn gradients_of_products_in_bf16_are_near_to_those_of_f32() {
    let [(loss, exact), (near_loss, near)] = [false, true].map(|bf16| computed(bf16, Level::best(), 2, false));
    assert!(loss != near_loss && (near_loss / loss - 1.0).abs() < 2e-3, "{near_loss} for {loss}");
    for (n, (exact, near)) in exact.iter().zip(near.iter()).enumerate() {
        let (Some(exact), Some(near)) = (exact, near) else { panic!("{n} does not learn") };
        let far: f64 = exact.iter().zip(near).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let size: f64 = exact.iter().map(|a| f64::from(*a).powi(2)).sum();
        assert!(far.sqrt() < 0.03 * size.sqrt(), "{n}: {} of {}", far.sqrt(), size.sqrt());
    }
}
