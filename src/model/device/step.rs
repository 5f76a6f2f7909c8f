//! Some tokens through one block after another.

use super::{Layer, multiply};
use crate::arch::Count;
use crate::model::layer::Frame;
use crate::model::watch::Place;
use tersor_kernels::cuda::{Buffer, Device, Kept, NoDevice, Scratch};

/// What all blocks share.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Shape {
    pub(super) hidden: usize,
    kv_heads: usize,
    head: usize,
    pub(super) eps: f32,
}

/// Sums of squares of what goes into the Linears of a block, by [`Place`].
pub(super) type Squares = [Buffer<f64>; 4];

/// Tokens under way, and the memory that they are computed in.
pub(super) struct Step {
    pub(super) shape: Shape,
    /// Of every position, cosines and sines.
    turns: Buffer<f32>,
    /// Of the first token.
    position: Buffer<u32>,
    /// Hidden states.
    pub(super) x: Buffer<f32>,
    pub(super) normed: Buffer<f32>,
    q: Buffer<f32>,
    k: Buffer<f32>,
    v: Buffer<f32>,
    attended: Buffer<f32>,
    gate: Buffer<f32>,
    up: Buffer<f32>,
    out: Buffer<f32>,
    pub(super) scratch: Scratch,
}

impl Shape {
    pub(in crate::model) fn of(frame: &Frame) -> Shape {
        let [hidden, kv_heads, head] = [Count::Hidden, Count::KvHeads, Count::HeadSize].map(|n| frame.count(n));
        Shape { hidden, kv_heads, head, eps: frame.settings.norm_eps as f32 }
    }

    /// Room for the keys and values of one block, at as many positions as there are turns.
    pub(super) fn kept(&self, device: &Device, turns: &[f32]) -> Result<Kept, NoDevice> {
        device.room_for_keys(self.kv_heads, self.head, turns.len() / self.head)
    }
}

impl Step {
    pub(super) fn new(device: &Device, shape: Shape, turns: &[f32]) -> Result<Step, NoDevice> {
        let floats = || device.room(0);
        Ok(Step {
            shape,
            turns: device.upload(turns)?,
            position: device.upload(&[0])?,
            x: floats()?,
            normed: floats()?,
            q: floats()?,
            k: floats()?,
            v: floats()?,
            attended: floats()?,
            gate: floats()?,
            up: floats()?,
            out: floats()?,
            scratch: device.scratch()?,
        })
    }

    /// Have memory for so many tokens at once.
    pub(super) fn reserve(&mut self, device: &Device, tokens: usize, layers: &[Layer]) -> Result<(), NoDevice> {
        let Some(layer) = layers.first() else { return Ok(()) };
        let Step { x, normed, q, k, v, attended, gate, up, out, shape, scratch, .. } = self;
        for buffer in [x, normed, out] {
            device.fit(buffer, tokens * shape.hidden)?;
        }
        let of =
            [(q, &layer.q), (attended, &layer.q), (k, &layer.k), (v, &layer.v), (gate, &layer.gate), (up, &layer.up)];
        of.into_iter().try_for_each(|(buffer, linear)| device.fit(buffer, tokens * linear.weights.rows()))?;
        layer.linears().into_iter().try_for_each(|linear| device.reserve(scratch, tokens, &linear.weights))
    }

    /// The first token comes at this position.
    pub(super) fn go_to(&mut self, device: &Device, position: usize) -> Result<(), NoDevice> {
        device.write(&[position as u32], &mut self.position)
    }

    /// Hidden states from the CPU.
    pub(super) fn enter(&mut self, device: &Device, hidden: &[f32]) -> Result<(), NoDevice> {
        device.write(hidden, &mut self.x)
    }

    /// Hidden states to the CPU.
    pub(super) fn leave(&self, device: &Device, hidden: &mut [f32]) -> Result<(), NoDevice> {
        hidden.copy_from_slice(&device.download(&self.x)?);
        Ok(())
    }

    /// The hidden states through one block, which keeps keys and values in `kept`. Squares are added up where that is wanted.
    pub(super) fn block(
        &mut self,
        device: &Device,
        layer: &Layer,
        kept: &mut Kept,
        tokens: usize,
        mut squares: Option<&mut Squares>,
    ) -> Result<(), NoDevice> {
        let Step { x, normed, q, k, v, attended, gate, up, out, scratch, shape, turns, position } = self;
        let mut see = |place: Place, x: &Buffer<f32>| match &mut squares {
            Some(squares) => device.add_squares(x, &mut squares[place as usize]),
            None => Ok(()),
        };
        device.rms_norm(x, &layer.attn_norm, shape.eps, normed)?;
        see(Place::Attention, normed)?;
        multiply(device, normed, scratch, &mut [(&layer.q, q), (&layer.k, k), (&layer.v, v)])?;
        for turned in [&mut *q, &mut *k] {
            device.rope(turned, turns, position, tokens, shape.head)?;
        }
        device.keep(kept, position, k, v)?;
        device.attention(kept, position, q, tokens, scratch, attended)?;
        see(Place::AttentionOutput, attended)?;
        multiply(device, attended, scratch, &mut [(&layer.attn_output, out)])?;
        device.add(x, out)?;
        device.rms_norm(x, &layer.ffn_norm, shape.eps, normed)?;
        see(Place::FeedForward, normed)?;
        multiply(device, normed, scratch, &mut [(&layer.gate, gate), (&layer.up, up)])?;
        device.silu_times(gate, up)?;
        see(Place::Down, gate)?;
        multiply(device, gate, scratch, &mut [(&layer.down, out)])?;
        device.add(x, out)
    }
}
