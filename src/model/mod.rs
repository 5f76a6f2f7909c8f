//! Models that run: token ids to logits, with the project's own products over weights as they are stored.
//!
//! One executor serves all families whose blocks are those of llama: norm, attention with rotary embedding, norm, gated
//! feed-forward; biases where the checkpoint has them. Rows are brought into transformers' order while loading, so
//! the rotary embedding always turns pairs (i, i + d/2).
//!
//! Results are the same bits at every level and for any number of threads, and do not depend on how the tokens of a
//! sequence are cut into calls.

mod attention;
mod choice;
#[cfg_attr(not(feature = "cuda"), path = "without_device.rs")]
mod device;
mod forward;
mod layer;
mod linear;
mod load;
mod observe;
mod rotary;
pub mod train;
mod watch;

pub use choice::{Choice, Computed, Room};
pub use forward::Session;
pub use load::Block;
pub use observe::{Observer, Sums};

use crate::arch::{Count, Settings};
use crate::error::{Error, Result};
use layer::{Frame, Layer};
use linear::Linear;
use load::Embedding;
use tersor_kernels::matmul::Activations;

/// What a model's products are computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As they are stored: blocks of integers with activations of eight bits.
    AsStored,
    /// Decoded to f32, with activations of f32: what the weights alone are worth.
    Decoded,
    /// As they are stored, floats and activations rounded to bf16.
    Bf16,
}

/// A model in memory. The embedding stays in its file, unless the model is on a GPU.
pub struct Model {
    frame: Frame,
    embedding: Embedding,
    held: Held,
    computed: Computed,
    /// See [`Model::is_quantized`].
    quantized: bool,
}

/// Where the weights are.
enum Held {
    Here(Here),
    There(Box<device::OnDevice>),
}

/// Weights in the memory of the CPU.
struct Here {
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Linear,
}

impl Model {
    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.frame.settings
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.frame.count(Count::Layers)
    }

    /// The length of a row of logits.
    pub fn vocabulary(&self) -> usize {
        match &self.held {
            Held::Here(here) => here.head.rows(),
            Held::There(there) => there.vocabulary(),
        }
    }

    /// What it is computed on.
    pub fn computed(&self) -> &Computed {
        &self.computed
    }

    /// True when some tensor is stored in blocks, so that [`Weights::Decoded`] computes something else.
    pub fn is_quantized(&self) -> bool {
        self.quantized
    }

    /// Bytes of weights in memory.
    pub fn bytes(&self) -> usize {
        match &self.held {
            Held::Here(here) => here.layers.iter().map(Layer::bytes).sum::<usize>() + here.head.bytes(),
            Held::There(there) => there.bytes(),
        }
    }

    /// Run on as many threads from now on.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when the system does not give them.
    pub fn set_threads(&mut self, threads: usize) -> Result<()> {
        self.frame.pool = load::pool(threads)?;
        Ok(())
    }

    /// The logits of hidden states as [`Session::normalized`] gives them: a row of [`Model::vocabulary`] for each.
    ///
    /// # Errors
    /// [`Error::NoPrediction`] when one is not a finite number, [`Error::Device`].
    pub fn logits(&self, hidden: &[f32], logits: &mut Vec<f32>) -> Result<()> {
        match &self.held {
            Held::Here(here) => {
                let (level, head) = (self.frame.level, &here.head);
                let mut x = Activations::new(level);
                logits.resize(hidden.len() / self.frame.count(Count::Hidden) * head.rows(), 0.0);
                self.frame.pool.install(|| linear::multiply(level, hidden, &mut x, &mut [(head, logits)]));
            }
            Held::There(there) => *logits = there.logits(hidden)?,
        }
        self.check(logits)
    }

    /// Logits are numbers.
    fn check(&self, logits: &[f32]) -> Result<()> {
        match logits.iter().find(|logit| !logit.is_finite()) {
            Some(logit) => Err(Error::NoPrediction { path: self.embedding.source().path.clone(), logit: *logit }),
            None => Ok(()),
        }
    }
}
