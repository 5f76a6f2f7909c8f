//! Models that learn: weights in f32, the forward pass of [`super`] over whole sequences, and the gradient of every weight,
//! written out by hand.
//!
//! Products are those of [`tersor_kernels::matmul`]; every sum has one order, so results are the same bits for any number of
//! threads.

mod adamw;
mod attention;
mod block;
mod dropout;
mod gemm;
mod load;
mod nearness;
mod parameter;
mod pool;

pub use adamw::{AdamW, Rates};
pub use dropout::Dropout;
pub use nearness::{Nearness, States};
pub use parameter::{Adapter, Made, Parameter};

use super::layer::Frame;
use block::Kept;
use gemm::multiply;
use pool::{Buffer, Pool};
use rayon::prelude::*;
use std::ops::Range;
use tersor_kernels::matmul::{Input, View};

/// Bytes of logits that are in memory at a time.
const LOGITS: usize = 128 << 20;

/// Tokens that are best computed together; the gradients of a larger batch can be added up over parts of it.
pub const TOGETHER: usize = 2048;

/// A model whose weights change.
pub struct Network {
    frame: Frame,
    /// Those of the model, then what learns beside them.
    parameters: Vec<Parameter>,
    /// How many are the model's.
    model: usize,
    layers: Vec<LayerParts>,
    embedding: usize,
    norm: usize,
    /// The embedding, where that serves as output head.
    head: usize,
    /// See [`Network::project`].
    projection: Option<usize>,
    /// Memory that steps use again.
    pool: Pool,
}

/// A Linear, by the numbers of its parameters.
struct Dense {
    weight: usize,
    bias: Option<usize>,
}

/// The parameters of one block.
struct LayerParts {
    attn_norm: usize,
    q: Dense,
    k: Dense,
    v: Dense,
    attn_output: Dense,
    ffn_norm: usize,
    gate: Dense,
    up: Dense,
    down: Dense,
}

/// The gradients of all parameters that change, added up until [`Gradients::clear`].
pub struct Gradients(Vec<Option<Vec<f32>>>);

impl Gradients {
    fn of(&mut self, parameter: usize) -> Option<&mut [f32]> {
        self.0[parameter].as_deref_mut()
    }

    /// Parameter by parameter; `None` for those that do not change.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[f32]>> {
        self.0.iter().map(Option::as_deref)
    }

    /// Back to zero.
    pub fn clear(&mut self) {
        self.0.iter_mut().flatten().for_each(|values| values.fill(0.0));
    }
}

/// What logits are to become, as a loss and its gradient.
pub trait Objective: Send + Sync {
    /// Logits of these rows of the batch come next.
    ///
    /// # Errors
    /// What another model's predictions for them meet.
    fn prepare(&mut self, rows: Range<usize>) -> crate::error::Result<()>;

    /// The loss at row `row` of the batch, and `logits` turned into its gradient; several losses where several parts are
    /// told apart, of which the first is the one that the gradient is of.
    fn turn(&self, row: usize, logits: &mut [f32]) -> [f64; 3];

    /// What the hidden states after block `block` are to come near, if that is wanted.
    fn states(&self, block: usize) -> Option<States<'_>> {
        let _ = block;
        None
    }
}

/// Sums over the tokens of a batch: those that [`Objective::turn`] gives, then how far hidden states are from others, over
/// all blocks. Where no gradients are wanted, the last is 0.
pub type Losses = [f64; 4];

/// A batch on its way through the model.
struct Step<'a> {
    tokens: &'a [u32],
    context: usize,
    /// Of every position.
    turns: Vec<Vec<f32>>,
    dropout: Option<Dropout>,
}

/// A batch of sequences of one length, and how it is computed.
pub struct Batch<'a> {
    /// One sequence after another.
    pub tokens: &'a [u32],
    /// Tokens of each.
    pub context: usize,
    /// What is left out by chance.
    pub dropout: Option<Dropout>,
    /// Keep only what goes into each block, and compute the rest again for the gradient.
    pub recompute: bool,
}

impl Network {
    /// The weights.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The weights, to be replaced.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Multiply in bf16 from now on, where sums are f32; weights and everything else stay f32.
    pub fn multiply_in_bf16(&mut self) {
        self.pool = Pool::new(Input::Bf16);
    }

    /// Gradients of zero.
    pub fn gradients(&self) -> Gradients {
        let zero = |p: &Parameter| p.trains.then(|| vec![0.0; p.values.len()]);
        Gradients(self.parameters.iter().map(zero).collect())
    }

    /// The sums of the losses of `objective` over a batch; their gradients are added to `to` if it is given.
    ///
    /// # Errors
    /// Those of `objective`.
    ///
    /// # Panics
    /// When tokens are no whole number of sequences, or one is beyond the embedding.
    pub fn losses(
        &self,
        batch: &Batch<'_>,
        objective: &mut dyn Objective,
        to: Option<&mut Gradients>,
    ) -> crate::error::Result<Losses> {
        assert!(batch.tokens.len().is_multiple_of(batch.context));
        let turns = self.frame.turns(0, batch.context);
        let step = Step { tokens: batch.tokens, context: batch.context, turns, dropout: batch.dropout };
        self.frame.pool.install(|| self.run(&step, batch.recompute, objective, to))
    }

    fn run(
        &self,
        step: &Step<'_>,
        recompute: bool,
        objective: &mut dyn Objective,
        to: Option<&mut Gradients>,
    ) -> crate::error::Result<Losses> {
        let mut x = self.embed(step);
        let mut kept = Vec::new();
        for n in 0..self.layers.len() {
            let (after, whole) = self.block(step, n, x);
            x = after;
            if to.is_some() {
                kept.push(if recompute { Held::Input(whole.x) } else { Held::All(Box::new(whole)) });
            }
        }
        let normed = self.normed(&x, self.norm);
        let Some(to) = to else {
            let [a, b, c] = self.head(&normed, objective, None)?;
            return Ok([a, b, c, 0.0]);
        };
        let mut back = self.pool.take(normed.len());
        let [a, b, c] = self.head(&normed, objective, Some((&mut back, to)))?;
        let mut d = self.pool.take(x.len());
        d.fill(0.0);
        self.norm_alone_back(self.norm, &x, &back, &mut d, to);
        let mut far = 0.0;
        let mut near = |n: usize, x: &[f32], d: &mut [f32], to: &mut Gradients| {
            if let Some(wanted) = objective.states(n) {
                far += self.come_near(wanted, x, d, to);
            }
        };
        near(self.layers.len() - 1, &x, &mut d, to);
        for (n, held) in kept.into_iter().enumerate().rev() {
            let mut kept = match held {
                Held::All(kept) => *kept,
                Held::Input(x) => self.block(step, n, x).1,
            };
            self.block_back(step, n, &mut kept, &mut d, to);
            if n > 0 {
                near(n - 1, &kept.x, &mut d, to);
            }
        }
        self.embed_back(step, &mut d, to);
        Ok([a, b, c, far])
    }

    fn embed(&self, step: &Step<'_>) -> Buffer<'_> {
        let embedding = &self.parameters[self.embedding];
        let width = embedding.shape[1];
        let mut x = self.pool.take(step.tokens.len() * width);
        for (x, token) in x.chunks_exact_mut(width).zip(step.tokens) {
            x.copy_from_slice(&embedding.values[*token as usize * width..][..width]);
        }
        step.drop(&mut x, 2 * self.layers.len());
        x
    }

    fn embed_back(&self, step: &Step<'_>, d: &mut [f32], to: &mut Gradients) {
        step.drop(d, 2 * self.layers.len());
        let width = self.parameters[self.embedding].shape[1];
        let Some(to) = to.of(self.embedding) else { return };
        for (d, token) in d.chunks_exact(width).zip(step.tokens) {
            let row = &mut to[*token as usize * width..][..width];
            row.iter_mut().zip(d).for_each(|(to, d)| *to += d);
        }
    }

    /// Some rows at a time through the output head and the objective; with their gradient, and that of the head.
    fn head(
        &self,
        normed: &[f32],
        objective: &mut dyn Objective,
        mut to: Option<(&mut [f32], &mut Gradients)>,
    ) -> crate::error::Result<[f64; 3]> {
        let level = self.frame.level;
        let head = &self.parameters[self.head];
        let [vocabulary, width] = [head.shape[0], head.shape[1]];
        let weight = View::new(&head.values, width);
        let rows = normed.len() / width;
        let some = (LOGITS / size_of::<f32>() / vocabulary).max(1);
        let mut sums = [0.0; 3];
        for first in (0..rows).step_by(some) {
            let range = first..rows.min(first + some);
            let x = View::new(&normed[range.start * width..range.end * width], width);
            objective.prepare(range.clone())?;
            let mut logits = self.pool.take(range.len() * vocabulary);
            multiply(&self.pool, level, weight, x, &mut logits, false);
            let turning = &*objective;
            let losses: Vec<[f64; 3]> = logits
                .par_chunks_exact_mut(vocabulary)
                .enumerate()
                .map(|(n, logits)| turning.turn(first + n, logits))
                .collect();
            losses.iter().for_each(|losses| sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss));
            let Some((back, to)) = &mut to else { continue };
            let d = View::new(&logits, vocabulary);
            multiply(
                &self.pool,
                level,
                weight.transposed(),
                d,
                &mut back[range.start * width..range.end * width],
                false,
            );
            if let Some(to) = to.of(self.head) {
                multiply(&self.pool, level, x.transposed(), d.transposed(), to, true);
            }
        }
        Ok(sums)
    }
}

/// What is held of a block until its gradient is computed.
enum Held<'n> {
    All(Box<Kept<'n>>),
    Input(Buffer<'n>),
}
