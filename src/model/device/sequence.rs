//! Tokens on their way through a model on a device.

use super::step::{Shape, Step};
use super::{OnDevice, multiply};
use std::ops::Range;
use tersor_kernels::cuda::{Buffer, Graph, Kept, NoDevice};

/// What a model keeps of a sequence, and the memory that it is computed in.
pub(in crate::model) struct Sequence {
    kept: Vec<Kept>,
    ids: Buffer<u32>,
    picked: Buffer<u8>,
    step: Step,
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

impl Sequence {
    /// Room for as many tokens as there are turns.
    pub(in crate::model) fn new(model: &OnDevice, shape: Shape, turns: &[f32]) -> Result<Sequence, NoDevice> {
        let device = &model.device;
        let kept = |_| shape.kept(device, turns);
        Ok(Sequence {
            kept: model.layers.iter().map(kept).collect::<Result<_, _>>()?,
            ids: device.room(0)?,
            picked: device.room(0)?,
            step: Step::new(device, shape, turns)?,
            hidden: device.room(0)?,
            logits: device.room(0)?,
            ones: 0,
            one: One::Launches,
        })
    }

    /// Have memory for so many tokens at once.
    pub(in crate::model) fn reserve(&mut self, model: &OnDevice, tokens: usize) -> Result<(), NoDevice> {
        self.step.reserve(&model.device, tokens, &model.layers[..])?;
        model.device.fit(&mut self.hidden, tokens * self.step.shape.hidden)
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
        self.step.go_to(device, position)?;
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
        model.device.rows(&model.embedding, &self.ids, &mut self.picked, &mut self.step.x)?;
        for (layer, kept) in model.layers.iter().zip(&mut self.kept) {
            self.step.block(&model.device, layer, kept, tokens, None)?;
        }
        model.device.rms_norm(&self.step.x, &model.norm, self.step.shape.eps, &mut self.hidden)
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
        let device = &model.device;
        self.step.go_to(device, position)?;
        self.step.enter(device, hidden)?;
        for n in blocks {
            let tokens = hidden.len() / self.step.shape.hidden;
            self.step.block(device, &model.layers[n], &mut self.kept[n], tokens, None)?;
        }
        self.step.leave(device, hidden)
    }

    /// Hidden states after the last norm.
    pub(in crate::model) fn normalized(&self, model: &OnDevice, hidden: &[f32]) -> Result<Vec<f32>, NoDevice> {
        let mut normed = model.device.room(0)?;
        model.device.rms_norm(&model.device.upload(hidden)?, &model.norm, self.step.shape.eps, &mut normed)?;
        model.device.download(&normed)
    }

    /// The logits of some of the tokens that came last.
    pub(in crate::model) fn logits(&mut self, model: &OnDevice, rows: Range<usize>) -> Result<Vec<f32>, NoDevice> {
        let width = self.step.shape.hidden;
        let Step { normed, scratch, .. } = &mut self.step;
        model.device.part(&self.hidden, rows.start * width..rows.end * width, normed)?;
        multiply(&model.device, normed, scratch, &mut [(&model.head, &mut self.logits)])?;
        model.device.download(&self.logits)
    }

    /// Tokens that came last.
    pub(in crate::model) fn rows(&self) -> usize {
        self.hidden.len() / self.step.shape.hidden
    }
}
