//! What of a student learns, and on which grid.

use crate::conversion::{Conversion, FileType, Target, resolve};
use crate::error::{Error, Result};
use crate::model::train::Network;
use crate::plan::{Container, Input};
use crate::source::Source;
use std::collections::BTreeSet;
use tersor_kernels::{Class, Format};

/// What learns in place of matrices, beside norms and biases.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What stands beside each.
    pub beside: Beside,
    /// Linears that have it, by the last part of their names (`q_proj`); all where there are none.
    pub targets: Vec<String>,
}

/// What stands beside a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    /// Low-rank matrices (LoRA, arXiv 2106.09685).
    Lora {
        /// Rows of the lower one.
        rank: usize,
        /// Over the rank, what their product is multiplied with.
        alpha: f32,
    },
    /// A factor for each of its rows.
    Scales,
    /// Nothing.
    Nothing,
}

impl Recovery {
    /// Let nothing else of `network` learn.
    ///
    /// # Errors
    /// [`Error::Usage`] when a target is no Linear.
    pub fn apply(&self, network: &mut Network, seed: u64) -> Result<()> {
        let names: BTreeSet<&str> = network.matrices().map(|n| module(&network.parameters()[n].name)).collect();
        if let Some(target) = self.targets.iter().find(|target| !names.contains(target.as_str())) {
            let problem = format!("no Linear of the blocks is called `{target}`");
            let known: Vec<&str> = names.into_iter().collect();
            return Err(Error::Usage { problem, hint: format!("choose among {}", known.join(", ")) });
        }
        network.parameters_mut().iter_mut().for_each(|p| p.trains = p.shape.len() == 1);
        let chosen = |name: &str| self.targets.is_empty() || self.targets.iter().any(|target| target == module(name));
        match self.beside {
            Beside::Lora { rank, alpha } => _ = network.adapt(rank, alpha, chosen, seed),
            Beside::Scales => _ = network.scale_rows(chosen),
            Beside::Nothing => {}
        }
        Ok(())
    }
}

/// The last part of a module's name, such as `q_proj`, where `name` is that of it or of its weight.
pub(super) fn module(name: &str) -> &str {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// Let `network` compute with weights of bf16; what updates change stays f32.
///
/// # Errors
/// Weights that bf16 cannot hold.
pub fn halve(network: &mut Network) -> Result<()> {
    let bf16 = Format::by_name("bf16").expect("a row of the table");
    (0..network.parameters().len()).for_each(|n| network.round(n, vec![bf16]));
    network.make()
}

/// Let `network`, whose checkpoint is `source`, compute with the weights that its file of type `to` will have.
///
/// # Errors
/// Those of [`resolve`]; weights that a format cannot hold.
pub fn round(network: &mut Network, source: &Source, to: &'static FileType) -> Result<()> {
    // A fresh one has no tensors there yet.
    let made = source.tensors().is_empty().then(|| network.to_source(source)).transpose()?;
    let source = made.as_ref().unwrap_or(source);
    let job = resolve(source, &Conversion::new(Container::Gguf, Target::Type(to)))?;
    for tensor in &job.plan.tensors {
        let Input::Stored { id, .. } = tensor.input else { continue };
        let stored = source.tensor(id);
        let parameter = network.parameters().iter().position(|p| p.name == stored.name);
        let grids: Vec<&'static Format> =
            [stored.format, tensor.format].into_iter().filter(|f| f.name != "f32").collect();
        if let Some(n) = parameter.filter(|_| tensor.format.class == Class::Block) {
            network.round(n, grids);
        }
    }
    network.make()
}
