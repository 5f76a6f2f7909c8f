//! AdamW (arXiv 1711.05101): Adam with decay that does not go through the moments.

use super::{Gradients, Network};
use crate::error::Result;
use rayon::prelude::*;

/// Values that are updated, or whose squares are added up, by one thread at a time.
const SHARE: usize = 1 << 14;

/// What an update goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Learning rate.
    pub lr: f32,
    /// How much of the mean of gradients stays.
    pub beta1: f32,
    /// How much of the mean of their squares stays.
    pub beta2: f32,
    /// Added to the root of that.
    pub eps: f32,
    /// Of matrices, as a share of the learning rate.
    pub decay: f32,
    /// What gradients are multiplied with.
    pub scale: f32,
}

/// The moments of all parameters that change.
pub struct AdamW {
    /// Of parameters in order: the mean of gradients, and of their squares.
    pub moments: Vec<Option<[Vec<f32>; 2]>>,
    /// Updates so far.
    pub steps: u64,
}

impl AdamW {
    /// Before the first update.
    pub fn new(network: &Network) -> AdamW {
        let zero = |n: usize| [vec![0.0; n], vec![0.0; n]];
        let moments = network.parameters.iter().map(|p| p.trains.then(|| zero(p.values.len()))).collect();
        AdamW { moments, steps: 0 }
    }

    /// One update of the weights that change.
    ///
    /// # Errors
    /// Those of [`Network::make`].
    pub fn update(&mut self, network: &mut Network, gradients: &Gradients, rates: &Rates) -> Result<()> {
        self.steps += 1;
        let power = |beta: f32| 1.0 - f64::from(beta).powf(self.steps as f64);
        let (first, second) = (1.0 / power(rates.beta1), 1.0 / power(rates.beta2));
        let Network { parameters, frame, .. } = network;
        frame.pool.install(|| {
            for ((parameter, moments), gradient) in parameters.iter_mut().zip(&mut self.moments).zip(gradients.iter()) {
                let (Some([mean, square]), Some(gradient)) = (moments, gradient) else { continue };
                let decay = if parameter.shape.len() > 1 { rates.decay * rates.lr } else { 0.0 };
                let weights = parameter.own_mut().par_chunks_mut(SHARE).zip(gradient.par_chunks(SHARE));
                let moments = mean.par_chunks_mut(SHARE).zip(square.par_chunks_mut(SHARE));
                weights.zip(moments).for_each(|((weights, gradient), (mean, square))| {
                    for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(mean).zip(square) {
                        let g = g * rates.scale;
                        *m += (1.0 - rates.beta1) * (g - *m);
                        *v += (1.0 - rates.beta2) * (g * g - *v);
                        let step = (*m * first as f32) / ((*v * second as f32).sqrt() + rates.eps);
                        *w -= rates.lr * step + decay * *w;
                    }
                });
            }
        });
        network.make()
    }
}

impl Network {
    /// The root of the sum of squares of all gradients.
    pub fn gradient_norm(&self, gradients: &Gradients) -> f64 {
        let squares = |values: &[f32]| values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
        let sum = |values: &[f32]| values.par_chunks(SHARE).map(squares).collect::<Vec<f64>>().iter().sum::<f64>();
        self.frame.pool.install(|| gradients.iter().flatten().map(sum).sum::<f64>()).sqrt()
    }
}
