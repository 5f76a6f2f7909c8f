//! Token ids to hidden states.

use super::Model;
use super::attention::Kept;
use super::layer::{Layer, Pass};
use super::load::Block;
use crate::error::{Error, Result};
use tersor_kernels::matmul::Activations;

/// A sequence: what the model keeps of its tokens.
pub struct Session<'m> {
    model: &'m Model,
    /// Layer by layer, a key-value head each.
    kept: Vec<Vec<Kept>>,
    position: usize,
    capacity: usize,
    packed: Activations,
}

impl<'m> Session<'m> {
    /// An empty sequence with room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] when the model takes no sequence of that length.
    pub fn new(model: &'m Model, capacity: usize) -> Result<Session<'m>> {
        let kept = model.layers.iter().map(|_| model.frame.kept(capacity)).collect::<Result<_>>()?;
        Ok(Session { model, kept, position: 0, capacity, packed: Activations::new(model.frame.level) })
    }

    /// Tokens so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forget all tokens from `position` on.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// The hidden states of `tokens`, which follow those before, after the last norm: a row for each.
    ///
    /// # Errors
    /// An id that the model does not have, more tokens than there is room for, or an embedding that cannot be read.
    pub fn forward(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if tokens.len() > self.capacity - self.position {
            let problem = format!("{} tokens, but there is room for {}", tokens.len(), self.capacity - self.position);
            return Err(Error::Usage { problem, hint: "ask for fewer".into() });
        }
        let mut x = self.embed(tokens)?;
        self.through(0..self.kept.len(), &mut x);
        self.position += tokens.len();
        Ok(self.normalized(&x))
    }

    /// What goes into the first block for `tokens`.
    ///
    /// # Errors
    /// An id that the model does not have, or an embedding that cannot be read.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.model.embedding.rows(tokens)
    }

    /// The hidden states of tokens after those so far through some blocks, in the order given. No token is added, so
    /// that the same ones can take another way.
    pub fn through(&mut self, blocks: impl IntoIterator<Item = usize>, hidden: &mut [f32]) {
        let layers = &self.model.layers;
        self.run(blocks.into_iter().map(|n| (n, &layers[n])).collect(), hidden);
    }

    /// The same through `block` in place of the model's block `n`.
    pub fn through_another(&mut self, n: usize, block: &Block, hidden: &mut [f32]) {
        self.run(vec![(n, &block.0)], hidden);
    }

    fn run(&mut self, layers: Vec<(usize, &Layer)>, hidden: &mut [f32]) {
        let frame = &self.model.frame;
        frame.pool.install(|| {
            let turns = &frame.turns(self.position, hidden.len() / self.model.norm.len());
            let mut pass = Pass { frame, position: self.position, turns, packed: &mut self.packed, watched: None };
            for (n, layer) in layers {
                pass.run(layer, &mut self.kept[n], hidden);
            }
        });
    }

    /// Hidden states after the last norm, as [`Model::logits`] takes them.
    pub fn normalized(&self, hidden: &[f32]) -> Vec<f32> {
        let frame = &self.model.frame;
        frame.pool.install(|| frame.normalized(hidden, &self.model.norm))
    }
}
