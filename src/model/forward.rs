//! Token ids to hidden states, and to logits.

use super::attention::Kept;
use super::device::{Sequence, Shape};
use super::layer::{Layer, Pass};
use super::load::Block;
use super::{Held, Here, Model};
use crate::arch::Count;
use crate::error::{Error, Result};
use std::ops::Range;
use tersor_kernels::matmul::Activations;

/// A sequence: what the model keeps of its tokens.
pub struct Session<'m> {
    model: &'m Model,
    state: State<'m>,
    position: usize,
    capacity: usize,
}

/// Where the model is, the rest is.
enum State<'m> {
    Here {
        model: &'m Here,
        /// Layer by layer, a key-value head each.
        kept: Vec<Vec<Kept>>,
        packed: Activations,
        /// Of the last tokens, after the last norm.
        hidden: Vec<f32>,
    },
    There {
        model: &'m super::device::OnDevice,
        sequence: Box<Sequence>,
    },
}

impl<'m> Session<'m> {
    /// An empty sequence with room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] when the model takes no sequence of that length, [`Error::Device`].
    pub fn new(model: &'m Model, capacity: usize) -> Result<Session<'m>> {
        model.frame.check_length(capacity)?;
        let state = match &model.held {
            Held::Here(here) => {
                let kept = here.layers.iter().map(|_| model.frame.kept(capacity)).collect::<Result<_>>()?;
                State::Here { model: here, kept, packed: Activations::new(model.frame.level), hidden: Vec::new() }
            }
            Held::There(there) => {
                let (shape, turns) = (Shape::of(&model.frame), model.frame.turns(0, capacity).concat());
                State::There { model: there, sequence: Box::new(Sequence::new(there, shape, &turns)?) }
            }
        };
        Ok(Session { model, state, position: 0, capacity })
    }

    /// Have memory for so many tokens that run together, where it is not had as it is needed.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<()> {
        match &mut self.state {
            State::Here { .. } => Ok(()),
            State::There { model, sequence } => Ok(sequence.reserve(model, tokens)?),
        }
    }

    /// Tokens so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forget all tokens from `position` on.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Run `tokens`, which follow those before: their hidden states after the last norm stay in the session, to be asked for
    /// logits.
    ///
    /// # Errors
    /// An id that the model does not have, more tokens than there is room for, an embedding that cannot be read,
    /// [`Error::Device`].
    pub fn forward(&mut self, tokens: &[u32]) -> Result<()> {
        if tokens.len() > self.capacity - self.position {
            let problem = format!("{} tokens, but there is room for {}", tokens.len(), self.capacity - self.position);
            return Err(Error::Usage { problem, hint: "ask for fewer".into() });
        }
        self.model.embedding.check(tokens)?;
        if let State::There { model, sequence } = &mut self.state {
            sequence.forward(model, tokens, self.position)?;
        } else {
            let mut x = self.embed(tokens)?;
            self.through(0..self.model.layers(), &mut x)?;
            let normalized = self.normalized(&x)?;
            if let State::Here { hidden, .. } = &mut self.state {
                *hidden = normalized;
            }
        }
        self.position += tokens.len();
        Ok(())
    }

    /// The logits of some of the last tokens: a row of [`Model::vocabulary`] for each.
    ///
    /// # Errors
    /// [`Error::NoPrediction`] when one is not a finite number, [`Error::Device`].
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn logits(&mut self, rows: Range<usize>, logits: &mut Vec<f32>) -> Result<()> {
        match &mut self.state {
            State::Here { hidden, .. } => {
                let width = self.model.frame.count(Count::Hidden);
                self.model.logits(&hidden[rows.start * width..rows.end * width], logits)
            }
            State::There { model, sequence } => {
                *logits = sequence.logits(model, rows)?;
                self.model.check(logits)
            }
        }
    }

    /// [`Session::logits`] of the last token alone.
    ///
    /// # Errors
    /// Those of [`Session::logits`].
    pub fn last_logits(&mut self, logits: &mut Vec<f32>) -> Result<()> {
        let rows = self.rows();
        self.logits(rows - 1..rows, logits)
    }

    /// Tokens that ran last.
    pub fn rows(&self) -> usize {
        match &self.state {
            State::Here { hidden, .. } => hidden.len() / self.model.frame.count(Count::Hidden),
            State::There { sequence, .. } => sequence.rows(),
        }
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
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn through(&mut self, blocks: impl IntoIterator<Item = usize>, hidden: &mut [f32]) -> Result<()> {
        match &mut self.state {
            State::Here { model, .. } => {
                let layers = &model.layers;
                self.run(blocks.into_iter().map(|n| (n, &layers[n])).collect(), hidden)
            }
            State::There { model, sequence } => {
                Ok(sequence.through(model, blocks.into_iter(), hidden, self.position)?)
            }
        }
    }

    /// The same through `block` in place of the model's block `n`.
    ///
    /// # Errors
    /// [`Error::Device`] for a model on a GPU.
    pub fn through_another(&mut self, n: usize, block: &Block, hidden: &mut [f32]) -> Result<()> {
        self.run(vec![(n, &block.0)], hidden)
    }

    fn run(&mut self, layers: Vec<(usize, &Layer)>, hidden: &mut [f32]) -> Result<()> {
        let (frame, position) = (&self.model.frame, self.position);
        let State::Here { model, kept, packed, .. } = &mut self.state else {
            return Err(Error::Device { reason: "blocks of other models run on the CPU".into() });
        };
        frame.pool.install(|| {
            let turns = &frame.turns(position, hidden.len() / model.norm.len());
            let mut pass = Pass { frame, position, turns, packed, watched: None };
            for (n, layer) in layers {
                pass.run(layer, &mut kept[n], hidden);
            }
        });
        Ok(())
    }

    /// Hidden states after the last norm, as [`Model::logits`] takes them.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn normalized(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        match &self.state {
            State::Here { model, .. } => {
                let frame = &self.model.frame;
                Ok(frame.pool.install(|| frame.normalized(hidden, &model.norm)))
            }
            State::There { model, sequence } => Ok(sequence.normalized(model, hidden)?),
        }
    }
}
