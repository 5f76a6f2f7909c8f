//! Token ids to hidden states.

use super::Model;
use super::attention::Kept;
use super::layer::Pass;
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
        let (model, frame) = (self.model, &self.model.frame);
        let mut x = model.embedding.rows(tokens)?;
        frame.pool.install(|| {
            let turns = &frame.turns(self.position, tokens.len());
            let mut pass = Pass { frame, position: self.position, turns, packed: &mut self.packed, watched: None };
            for (layer, kept) in model.layers.iter().zip(&mut self.kept) {
                pass.run(layer, kept, &mut x);
            }
            x = frame.normalized(&x, &model.norm);
        });
        self.position += tokens.len();
        Ok(x)
    }
}
