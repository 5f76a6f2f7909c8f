//! Tokens on their way through a model on a device.

use super::{Layer, OnDevice, multiply};
use std::ops::Range;
use tersor_kernels::cuda::{Buffer, Device, Graph, Kept, NoDevice, Scratch};

/// What all blocks share.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Shape {
    pub(in crate::model) hidden: usize,
    pub(in crate::model) kv_heads: usize,
    pub(in crate::model) head: usize,
    pub(in crate::model) eps: f32,
}

/// What a model keeps of a sequence, and the memory that it is computed in.
pub(in crate::model) struct Sequence {
    shape: Shape,
    kept: Vec<Kept>,
    /// Of every position, cosines and sines.
    turns: Buffer<f32>,
    position: Buffer<u32>,
    ids: Buffer<u32>,
    room: Room,
    /// After the last norm, of the tokens that came last.
    hidden: Buffer<f32>,
    logits: Buffer<f32>,
    /// Tokens one by one since others came: their buffers have the sizes of one token then.
    ones: usize,
    one: One,
}

/// How one token is computed.
enum One {
    /// Launch by launch.
    Launches,
    /// All launches together.
    Graph(Graph),
    /// The driver does not record them.
    Unrecorded,
}

/// Memory of a step.
struct Room {
    picked: Buffer<u8>,
    x: Buffer<f32>,
    normed: Buffer<f32>,
    q: Buffer<f32>,
    k: Buffer<f32>,
    v: Buffer<f32>,
    attended: Buffer<f32>,
    gate: Buffer<f32>,
    up: Buffer<f32>,
    out: Buffer<f32>,
    scratch: Scratch,
}

impl Room {
    fn new(device: &Device) -> Result<Room, NoDevice> {
        let floats = || device.room(0);
        Ok(Room {
            picked: device.room(0)?,
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
}

impl Sequence {
    /// Room for as many tokens as there are turns.
    pub(in crate::model) fn new(model: &OnDevice, shape: Shape, turns: &[f32]) -> Result<Sequence, NoDevice> {
        let device = &model.device;
        let kept = |_| device.room_for_keys(shape.kv_heads, shape.head, turns.len() / shape.head);
        Ok(Sequence {
            shape,
            kept: model.layers.iter().map(kept).collect::<Result<_, _>>()?,
            turns: device.upload(turns)?,
            position: device.upload(&[0])?,
            ids: device.room(0)?,
            room: Room::new(device)?,
            hidden: device.room(0)?,
            logits: device.room(0)?,
            ones: 0,
            one: One::Launches,
        })
    }

    /// The hidden states of tokens from `position` on, which are then asked for logits.
    pub(in crate::model) fn forward(
        &mut self,
        model: &OnDevice,
        tokens: &[u32],
        position: usize,
    ) -> Result<(), NoDevice> {
        let device = &model.device;
        device.write(tokens, &mut self.ids)?;
        device.write(&[position as u32], &mut self.position)?;
        self.ones = if tokens.len() == 1 { self.ones + 1 } else { 0 };
        if self.ones < 2 {
            return self.launch(model, tokens.len());
        }
        if let One::Graph(graph) = &self.one
            && device.replay(graph)?
        {
            return Ok(());
        }
        if let One::Unrecorded = self.one {
            return self.launch(model, 1);
        }
        match device.record(|| self.launch(model, 1)) {
            Ok(graph) => {
                device.replay(&graph)?;
                self.one = One::Graph(graph);
                Ok(())
            }
            Err(_) => {
                self.one = One::Unrecorded;
                self.launch(model, 1)
            }
        }
    }

    fn launch(&mut self, model: &OnDevice, tokens: usize) -> Result<(), NoDevice> {
        model.device.rows(&model.embedding, &self.ids, &mut self.room.picked, &mut self.room.x)?;
        for n in 0..model.layers.len() {
            self.block(model, n, tokens)?;
        }
        model.device.rms_norm(&self.room.x, &model.norm, self.shape.eps, &mut self.hidden)
    }

    /// Hidden states through some blocks; tokens come after `position`.
    pub(in crate::model) fn through(
        &mut self,
        model: &OnDevice,
        blocks: impl Iterator<Item = usize>,
        hidden: &mut [f32],
        position: usize,
    ) -> Result<(), NoDevice> {
        self.ones = 0;
        model.device.write(hidden, &mut self.room.x)?;
        model.device.write(&[position as u32], &mut self.position)?;
        for n in blocks {
            self.block(model, n, hidden.len() / self.shape.hidden)?;
        }
        hidden.copy_from_slice(&model.device.download(&self.room.x)?);
        Ok(())
    }

    /// Hidden states after the last norm.
    pub(in crate::model) fn normalized(&self, model: &OnDevice, hidden: &[f32]) -> Result<Vec<f32>, NoDevice> {
        let mut normed = model.device.room(0)?;
        model.device.rms_norm(&model.device.upload(hidden)?, &model.norm, self.shape.eps, &mut normed)?;
        model.device.download(&normed)
    }

    /// The logits of some of the tokens that came last.
    pub(in crate::model) fn logits(&mut self, model: &OnDevice, rows: Range<usize>) -> Result<Vec<f32>, NoDevice> {
        let width = self.shape.hidden;
        let Room { normed, scratch, .. } = &mut self.room;
        model.device.part(&self.hidden, rows.start * width..rows.end * width, normed)?;
        multiply(&model.device, normed, scratch, &mut [(&model.head, &mut self.logits)])?;
        model.device.download(&self.logits)
    }

    /// Tokens that came last.
    pub(in crate::model) fn rows(&self) -> usize {
        self.hidden.len() / self.shape.hidden
    }

    fn block(&mut self, model: &OnDevice, n: usize, tokens: usize) -> Result<(), NoDevice> {
        let (device, layer, shape) = (&model.device, &model.layers[n], self.shape);
        let Room { x, normed, q, k, v, attended, out, scratch, .. } = &mut self.room;
        device.rms_norm(x, &layer.attn_norm, shape.eps, normed)?;
        multiply(device, normed, scratch, &mut [(&layer.q, q), (&layer.k, k), (&layer.v, v)])?;
        for turned in [&mut *q, &mut *k] {
            device.rope(turned, &self.turns, &self.position, tokens, shape.head)?;
        }
        device.keep(&mut self.kept[n], &self.position, k, v)?;
        device.attention(&self.kept[n], &self.position, q, tokens, attended)?;
        multiply(device, attended, scratch, &mut [(&layer.attn_output, out)])?;
        device.add(x, out)?;
        self.feed_forward(device, layer)
    }

    fn feed_forward(&mut self, device: &Device, layer: &Layer) -> Result<(), NoDevice> {
        let Room { x, normed, gate, up, out, scratch, .. } = &mut self.room;
        device.rms_norm(x, &layer.ffn_norm, self.shape.eps, normed)?;
        multiply(device, normed, scratch, &mut [(&layer.gate, gate), (&layer.up, up)])?;
        device.silu_times(gate, up)?;
        multiply(device, gate, scratch, &mut [(&layer.down, out)])?;
        device.add(x, out)
    }
}
