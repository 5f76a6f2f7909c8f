//! Blocks one at a time on a device, to see what goes into their Linears.

use super::Layer;
use super::load::{There, check};
use super::step::{Shape, Squares, Step};
use crate::arch::Count;
use crate::error::Result;
use crate::model::load::Loader;
use crate::model::observe::Sums;
use tersor_kernels::cuda::{Device, Kept, NoDevice};

/// What is on the device.
pub(in crate::model) struct Watching {
    device: Device,
    step: Step,
    /// Block by block; `None` where it is not in memory.
    layers: Vec<Option<Layer>>,
    /// The keys and values of the block that runs.
    kept: Kept,
    /// `None` for blocks that nothing went into.
    squares: Vec<Option<Squares>>,
    /// Of inputs, by the order of [`Sums`].
    widths: [usize; 4],
}

impl Watching {
    /// For sequences of as many tokens as there are turns, and inputs of these widths.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub(in crate::model) fn new(
        ordinal: usize,
        loader: &Loader<'_>,
        shape: Shape,
        turns: &[f32],
        widths: [usize; 4],
    ) -> Result<Watching> {
        check(loader.settings)?;
        let device = Device::open(ordinal)?;
        let (step, kept) = (Step::new(&device, shape, turns)?, shape.kept(&device, turns)?);
        let count = loader.settings[Count::Layers] as usize;
        let (layers, squares) = ((0..count).map(|_| None).collect(), (0..count).map(|_| None).collect());
        Ok(Watching { step, kept, layers, squares, widths, device })
    }

    pub(in crate::model) fn name(&self) -> &str {
        self.device.name()
    }

    /// Read the weights of block `n`, unless they are in memory.
    pub(in crate::model) fn load(&mut self, n: usize, loader: &Loader<'_>) -> Result<()> {
        if self.layers[n].is_none() {
            self.layers[n] = Some(There { loader, device: &self.device }.layer(n as u32)?);
        }
        Ok(())
    }

    pub(in crate::model) fn unload(&mut self, n: usize) {
        self.layers[n] = None;
    }

    /// The hidden states of a whole sequence through block `n`, which is in memory.
    pub(in crate::model) fn run(&mut self, n: usize, hidden: &mut [f32]) -> Result<(), NoDevice> {
        let layer = self.layers[n].as_ref().expect("the block was loaded");
        let tokens = hidden.len() / self.step.shape.hidden;
        self.step.enter(&self.device, hidden)?;
        let squares = match &mut self.squares[n] {
            Some(squares) => squares,
            none => none.insert(uploaded(&self.device, &self.widths.map(|width| vec![0.0; width]))?),
        };
        self.step.block(&self.device, layer, &mut self.kept, tokens, Some(squares))?;
        self.step.leave(&self.device, hidden)
    }

    /// The sums of block `n`.
    pub(in crate::model) fn sums(&self, n: usize) -> Result<Sums, NoDevice> {
        let Some(squares) = &self.squares[n] else { return Ok(Sums::default()) };
        let [a, b, c, d] = squares.each_ref().map(|sums| self.device.download(sums));
        Ok([a?, b?, c?, d?])
    }

    pub(in crate::model) fn set_sums(&mut self, n: usize, sums: &Sums) -> Result<(), NoDevice> {
        let some = sums.iter().any(|sums| !sums.is_empty());
        self.squares[n] = if some { Some(uploaded(&self.device, sums)?) } else { None };
        Ok(())
    }
}

fn uploaded(device: &Device, sums: &Sums) -> Result<Squares, NoDevice> {
    let [a, b, c, d] = sums.each_ref().map(|sums| device.upload(sums));
    Ok([a?, b?, c?, d?])
}
