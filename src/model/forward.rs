//! Token ids to hidden states.

use super::attention::{Kept, TOKENS};
use super::linear::multiply;
use super::rotary::Rotary;
use super::watch::{Place, Watched};
use super::{Layer, Model};
use crate::arch::Count;
use crate::error::{Error, Result};
use rayon::prelude::*;
use tersor_kernels::matmul::Activations;
use tersor_kernels::ops;

/// A sequence: what the model keeps of its tokens.
pub struct Session<'m> {
    model: &'m Model,
    /// Layer by layer, a key-value head each.
    kept: Vec<Vec<Kept>>,
    position: usize,
    capacity: usize,
    packed: Activations,
    /// Sums of squares, if they are wanted.
    watched: Option<Watched>,
}

impl<'m> Session<'m> {
    /// An empty sequence with room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] when the model takes no sequence of that length.
    pub fn new(model: &'m Model, capacity: usize) -> Result<Session<'m>> {
        let context = model.count(Count::Context);
        if capacity > context {
            let problem = format!("a sequence of {capacity} tokens, but the model takes {context}");
            return Err(Error::Usage { problem, hint: "ask for fewer; `eval` has `--ctx`".into() });
        }
        let head = || Kept::new(capacity, model.count(Count::HeadSize));
        let layer = || (0..model.count(Count::KvHeads)).map(|_| head()).collect::<Option<Vec<_>>>();
        let kept = model.layers.iter().map(|_| layer()).collect::<Option<Vec<_>>>();
        let kept = kept.ok_or_else(|| Error::Usage {
            problem: format!("{capacity} tokens are more than can be kept"),
            hint: "ask for fewer".into(),
        })?;
        Ok(Session { model, kept, position: 0, capacity, packed: Activations::new(model.level), watched: None })
    }

    /// From now on, add up the squares of what goes into every Linear of every layer.
    pub fn watch(&mut self) {
        self.watched = Some(Watched::new(self.model.layers.len()));
    }

    /// Matrices by their names in GGUF, with the tokens that they saw and the sum of squares per column.
    pub fn watched(&self) -> impl Iterator<Item = (String, u64, &[f64])> {
        self.watched.iter().flat_map(Watched::entries)
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
        let model = self.model;
        let mut x = model.embedding.rows(tokens)?;
        model.pool.install(|| {
            let positions = self.position..self.position + tokens.len();
            let turns: Vec<Vec<f32>> = positions.map(|p| model.rotary.turns(p)).collect();
            for (n, layer) in model.layers.iter().enumerate() {
                self.attention(layer, n, &turns, &mut x);
                self.feed_forward(layer, n, &mut x);
            }
            x = self.normalized(&x, &model.norm);
        });
        self.position += tokens.len();
        Ok(x)
    }

    fn normalized(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        let eps = self.model.settings.norm_eps as f32;
        let rows = x.par_chunks_exact(weight.len()).zip(y.par_chunks_exact_mut(weight.len()));
        rows.for_each(|(x, y)| ops::rms_norm(self.model.level, x, weight, eps, y));
        y
    }

    /// x += attention(norm(x))
    fn attention(&mut self, layer: &Layer, n: usize, turns: &[Vec<f32>], x: &mut [f32]) {
        let model = self.model;
        let [size, groups] = [Count::HeadSize, Count::KvHeads].map(|c| model.count(c));
        let group = model.count(Count::Heads) / groups;
        let tokens = turns.len();
        let normed = self.normalized(x, &layer.attn_norm);
        let [mut q, mut k, mut v] = [&layer.q, &layer.k, &layer.v].map(|linear| vec![0.0; linear.rows() * tokens]);
        self.see(n, Place::Attention, &normed, tokens);
        let to = &mut [(&layer.q, &mut q[..]), (&layer.k, &mut k[..]), (&layer.v, &mut v[..])];
        multiply(model.level, &normed, &mut self.packed, to);
        let rows = q.par_chunks_exact_mut(size * group * groups).zip(k.par_chunks_exact_mut(size * groups)).zip(turns);
        rows.for_each(|((q, k), turns)| {
            Rotary::turn(turns, q);
            Rotary::turn(turns, k);
        });
        let position = self.position;
        self.kept[n].par_iter_mut().enumerate().for_each(|(head, kept)| {
            let rows = k.chunks_exact(size * groups).zip(v.chunks_exact(size * groups));
            for (t, (k, v)) in rows.enumerate() {
                kept.put(position + t, &k[head * size..][..size], &v[head * size..][..size]);
            }
        });
        // Every head and some tokens at a time: gather the queries of the head's group, and scatter what it gives.
        let kept = &self.kept[n];
        let parts: Vec<(usize, usize, Vec<f32>)> = (0..tokens.div_ceil(TOKENS) * groups)
            .into_par_iter()
            .map(|part| {
                let (first, head) = (part / groups * TOKENS, part % groups);
                let count = TOKENS.min(tokens - first);
                let width = size * group;
                let mut queries = Vec::with_capacity(count * width);
                for q in q.chunks_exact(width * groups).skip(first).take(count) {
                    queries.extend_from_slice(&q[head * width..][..width]);
                }
                let mut out = vec![0.0; count * width];
                kept[head].attend(model.level, position + first, group, &queries, &mut out);
                (first, head, out)
            })
            .collect();
        let width = size * group;
        for (first, head, out) in parts {
            for (t, out) in out.chunks_exact(width).enumerate() {
                q[((first + t) * groups + head) * width..][..width].copy_from_slice(out);
            }
        }
        self.see(n, Place::AttentionOutput, &q, tokens);
        self.add(&layer.attn_output, &q, x);
    }

    /// x += down(silu(gate(norm(x))) * up(norm(x)))
    fn feed_forward(&mut self, layer: &Layer, n: usize, x: &mut [f32]) {
        let normed = self.normalized(x, &layer.ffn_norm);
        let tokens = x.len() / layer.ffn_norm.len();
        let [mut gate, mut up] = [&layer.gate, &layer.up].map(|linear| vec![0.0; linear.rows() * tokens]);
        self.see(n, Place::FeedForward, &normed, tokens);
        let to = &mut [(&layer.gate, &mut gate[..]), (&layer.up, &mut up[..])];
        multiply(self.model.level, &normed, &mut self.packed, to);
        let rows = gate.par_chunks_exact_mut(layer.gate.rows()).zip(up.par_chunks_exact(layer.up.rows()));
        rows.for_each(|(gate, up)| ops::silu_times(self.model.level, gate, up));
        self.see(n, Place::Down, &gate, tokens);
        self.add(&layer.down, &gate, x);
    }

    fn see(&mut self, layer: usize, place: Place, x: &[f32], tokens: usize) {
        if let Some(watched) = &mut self.watched {
            watched.see(layer, place, x, tokens);
        }
    }

    /// x += linear(y)
    fn add(&mut self, linear: &super::Linear, y: &[f32], x: &mut [f32]) {
        let mut out = vec![0.0; x.len()];
        multiply(self.model.level, y, &mut self.packed, &mut [(linear, &mut out)]);
        x.iter_mut().zip(out).for_each(|(x, y)| *x += y);
    }
}
