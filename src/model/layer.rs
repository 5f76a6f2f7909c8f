//! One block of a model.

use super::Linear;
use super::attention::{Kept, TOKENS};
use super::linear::multiply;
use super::rotary::Rotary;
use super::watch::{Place, Watched};
use crate::arch::{Count, Role, Settings};
use crate::error::{Error, Result};
use rayon::ThreadPool;
use rayon::prelude::*;
use tersor_kernels::matmul::Activations;
use tersor_kernels::{Level, ops};

/// What all blocks share.
pub(super) struct Frame {
    pub(super) settings: Settings,
    pub(super) level: Level,
    pub(super) pool: ThreadPool,
    pub(super) rotary: Rotary,
}

/// The weights of one block: matrices and vectors, wherever they are.
pub(super) struct Layer<L = Linear, V = Vec<f32>> {
    pub(super) attn_norm: V,
    pub(super) q: L,
    pub(super) k: L,
    pub(super) v: L,
    pub(super) attn_output: L,
    pub(super) ffn_norm: V,
    pub(super) gate: L,
    pub(super) up: L,
    pub(super) down: L,
}

impl<L, V> Layer<L, V> {
    /// By the roles of matrices and the names in GGUF of vectors.
    pub(super) fn read(linear: impl Fn(Role) -> Result<L>, vector: impl Fn(&str) -> Result<V>) -> Result<Layer<L, V>> {
        Ok(Layer {
            attn_norm: vector("blk.{}.attn_norm.weight")?,
            q: linear(Role::AttnQ)?,
            k: linear(Role::AttnK)?,
            v: linear(Role::AttnV)?,
            attn_output: linear(Role::AttnOutput)?,
            ffn_norm: vector("blk.{}.ffn_norm.weight")?,
            gate: linear(Role::FfnGate)?,
            up: linear(Role::FfnUp)?,
            down: linear(Role::FfnDown)?,
        })
    }

    pub(super) fn linears(&self) -> [&L; 7] {
        [&self.q, &self.k, &self.v, &self.attn_output, &self.gate, &self.up, &self.down]
    }
}

impl Layer {
    pub(super) fn bytes(&self) -> usize {
        self.linears().iter().map(|linear| linear.bytes()).sum()
    }
}

impl Frame {
    /// One of the counts, which loading has held against memory.
    pub(super) fn count(&self, count: Count) -> usize {
        self.settings[count] as usize
    }

    /// The model takes sequences of that length.
    ///
    /// # Errors
    /// [`Error::Usage`] when it does not.
    pub(super) fn check_length(&self, capacity: usize) -> Result<()> {
        let context = self.count(Count::Context);
        if capacity <= context {
            return Ok(());
        }
        let problem = format!("a sequence of {capacity} tokens, but the model takes {context}");
        Err(Error::Usage { problem, hint: "ask for fewer; `eval` has `--ctx`, `bench` has `--prompt`".into() })
    }

    /// Room for the keys and values of one block, at a length that was checked.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is more than there can be.
    pub(super) fn kept(&self, capacity: usize) -> Result<Vec<Kept>> {
        let head = |_| Kept::new(capacity, self.count(Count::HeadSize));
        (0..self.count(Count::KvHeads)).map(head).collect::<Option<_>>().ok_or_else(|| Error::Usage {
            problem: format!("{capacity} tokens are more than can be kept"),
            hint: "ask for fewer".into(),
        })
    }

    /// The turns of `tokens` tokens, the first at `position`.
    pub(super) fn turns(&self, position: usize, tokens: usize) -> Vec<Vec<f32>> {
        (position..position + tokens).map(|p| self.rotary.turns(p)).collect()
    }

    /// Rows over their root mean square, times `weight`.
    pub(super) fn normalized(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        self.normalize(x, weight, &mut y);
        y
    }

    /// The same, into `y`.
    pub(super) fn normalize(&self, x: &[f32], weight: &[f32], y: &mut [f32]) {
        let eps = self.settings.norm_eps as f32;
        let rows = x.par_chunks_exact(weight.len()).zip(y.par_chunks_exact_mut(weight.len()));
        rows.for_each(|(x, y)| ops::rms_norm(self.level, x, weight, eps, y));
    }
}

/// Tokens on their way through blocks; it runs on the threads of the pool that it is called in.
pub(super) struct Pass<'a> {
    pub(super) frame: &'a Frame,
    /// Of the first token.
    pub(super) position: usize,
    /// Of every token.
    pub(super) turns: &'a [Vec<f32>],
    /// Kept memory.
    pub(super) packed: &'a mut Activations,
    /// Sums of squares, if they are wanted.
    pub(super) watched: Option<&'a mut Watched>,
}

impl Pass<'_> {
    /// The hidden states `x` through one block, which keeps keys and values in `kept`.
    pub(super) fn run(&mut self, layer: &Layer, kept: &mut [Kept], x: &mut [f32]) {
        self.attention(layer, kept, x);
        self.feed_forward(layer, x);
    }

    /// x += attention(norm(x))
    fn attention(&mut self, layer: &Layer, kept: &mut [Kept], x: &mut [f32]) {
        let (frame, turns) = (self.frame, self.turns);
        let [size, groups] = [Count::HeadSize, Count::KvHeads].map(|c| frame.count(c));
        let group = frame.count(Count::Heads) / groups;
        let tokens = turns.len();
        let normed = self.frame.normalized(x, &layer.attn_norm);
        let [mut q, mut k, mut v] = [&layer.q, &layer.k, &layer.v].map(|linear| vec![0.0; linear.rows() * tokens]);
        self.see(Place::Attention, &normed, tokens);
        let to = &mut [(&layer.q, &mut q[..]), (&layer.k, &mut k[..]), (&layer.v, &mut v[..])];
        multiply(frame.level, &normed, self.packed, to);
        let rows = q.par_chunks_exact_mut(size * group * groups).zip(k.par_chunks_exact_mut(size * groups)).zip(turns);
        rows.for_each(|((q, k), turns)| {
            Rotary::turn(turns, q);
            Rotary::turn(turns, k);
        });
        let position = self.position;
        kept.par_iter_mut().enumerate().for_each(|(head, kept)| {
            let rows = k.chunks_exact(size * groups).zip(v.chunks_exact(size * groups));
            for (t, (k, v)) in rows.enumerate() {
                kept.put(position + t, &k[head * size..][..size], &v[head * size..][..size]);
            }
        });
        // Every head and some tokens at a time: gather the queries of the head's group, and scatter what it gives.
        let kept = &*kept;
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
                kept[head].attend(frame.level, position + first, group, &queries, &mut out);
                (first, head, out)
            })
            .collect();
        let width = size * group;
        for (first, head, out) in parts {
            for (t, out) in out.chunks_exact(width).enumerate() {
                q[((first + t) * groups + head) * width..][..width].copy_from_slice(out);
            }
        }
        self.see(Place::AttentionOutput, &q, tokens);
        self.add(&layer.attn_output, &q, x);
    }

    /// x += down(silu(gate(norm(x))) * up(norm(x)))
    fn feed_forward(&mut self, layer: &Layer, x: &mut [f32]) {
        let normed = self.frame.normalized(x, &layer.ffn_norm);
        let tokens = x.len() / layer.ffn_norm.len();
        let [mut gate, mut up] = [&layer.gate, &layer.up].map(|linear| vec![0.0; linear.rows() * tokens]);
        self.see(Place::FeedForward, &normed, tokens);
        let to = &mut [(&layer.gate, &mut gate[..]), (&layer.up, &mut up[..])];
        multiply(self.frame.level, &normed, self.packed, to);
        let rows = gate.par_chunks_exact_mut(layer.gate.rows()).zip(up.par_chunks_exact(layer.up.rows()));
        rows.for_each(|(gate, up)| ops::silu_times(self.frame.level, gate, up));
        self.see(Place::Down, &gate, tokens);
        self.add(&layer.down, &gate, x);
    }

    fn see(&mut self, place: Place, x: &[f32], tokens: usize) {
        if let Some(watched) = &mut self.watched {
            watched.see(place, x, tokens);
        }
    }

    /// x += linear(y)
    fn add(&mut self, linear: &Linear, y: &[f32], x: &mut [f32]) {
        let mut out = vec![0.0; x.len()];
        multiply(self.frame.level, y, self.packed, &mut [(linear, &mut out)]);
        x.iter_mut().zip(out).for_each(|(x, y)| *x += y);
    }
}
