//! Blocks one at a time, to see what goes into their Linears.

use super::Weights;
use super::attention::Kept;
use super::layer::{Frame, Layer, Pass};
use super::load::{Embedding, Loader, frame};
use super::watch::Watched;
use crate::arch::Count;
use crate::error::Result;
use crate::progress::Silent;
use crate::source::Source;
use tersor_kernels::Level;
use tersor_kernels::matmul::Activations;

/// Sums of squares per column, for the inputs that Linears of one block share.
pub type Sums = [Vec<f64>; 4];

/// A model without its head, of which as many blocks are in memory as there is room for.
pub struct Observer {
    frame: Frame,
    embedding: Embedding,
    /// Block by block; `None` where it is not in memory.
    layers: Vec<Option<Layer>>,
    /// The keys and values of the block that runs.
    kept: Vec<Kept>,
    turns: Vec<Vec<f32>>,
    packed: Activations,
    watched: Vec<Watched>,
}

impl Observer {
    /// The model of `source`, for sequences of `context` tokens. No weights are read yet.
    ///
    /// # Errors
    /// A family that is not known, or a model that takes no sequence of that length.
    pub fn new(source: Source, context: usize, level: Level, threads: usize) -> Result<Observer> {
        let frame = frame(&source, level, threads)?;
        let count = frame.count(Count::Layers);
        Ok(Observer {
            embedding: Embedding::new(source, &frame)?,
            layers: (0..count).map(|_| None).collect(),
            kept: frame.kept(context)?,
            turns: frame.turns(0, context),
            packed: Activations::new(level),
            watched: vec![Watched::default(); count],
            frame,
        })
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Values of a hidden state.
    pub fn hidden(&self) -> usize {
        self.frame.count(Count::Hidden)
    }

    /// Bytes that the weights of block `n` take in memory.
    ///
    /// # Errors
    /// Tensors that are missing or of another shape.
    pub fn bytes(&self, n: usize) -> Result<u64> {
        self.loader().layer_bytes(n as u32)
    }

    fn loader(&self) -> Loader<'_> {
        let (source, settings) = (self.embedding.source(), &self.frame.settings);
        Loader { source, settings, weights: Weights::AsStored, level: self.frame.level, progress: &Silent }
    }

    /// What goes into the first block for `tokens`.
    ///
    /// # Errors
    /// An id that the model does not have, or an embedding that cannot be read.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.embedding.rows(tokens)
    }

    /// Read the weights of block `n`, unless they are in memory.
    ///
    /// # Errors
    /// Tensors that are missing or of another shape, files that cannot be read.
    pub fn load(&mut self, n: usize) -> Result<()> {
        if self.layers[n].is_none() {
            self.layers[n] = Some(self.frame.pool.install(|| self.loader().layer(n as u32))?);
        }
        Ok(())
    }

    /// Give the memory of block `n` back.
    pub fn unload(&mut self, n: usize) {
        self.layers[n] = None;
    }

    /// The hidden states of a whole sequence through block `n`, whose inputs are added to its sums.
    ///
    /// # Panics
    /// When the block is not in memory.
    pub fn run(&mut self, n: usize, hidden: &mut [f32]) {
        let layer = self.layers[n].as_ref().expect("the block was loaded");
        let turns = &self.turns[..hidden.len() / self.frame.count(Count::Hidden)];
        let (packed, watched) = (&mut self.packed, Some(&mut self.watched[n]));
        let mut pass = Pass { frame: &self.frame, position: 0, turns, packed, watched };
        self.frame.pool.install(|| pass.run(layer, &mut self.kept, hidden));
    }

    /// The sums of block `n`, each with the names in GGUF of the matrices that it is for.
    pub fn sums(&self, n: usize) -> impl Iterator<Item = (impl Iterator<Item = String>, &[f64])> {
        let name = move |name: &&str| format!("blk.{n}.{name}.weight");
        self.watched[n].sums().map(move |(names, sums)| (names.iter().map(name), sums))
    }

    /// Columns of every input of a block, by the order of [`Sums`].
    pub fn widths(&self) -> [usize; 4] {
        let frame = &self.frame;
        let heads = frame.count(Count::Heads) * frame.count(Count::HeadSize);
        [self.hidden(), heads, self.hidden(), frame.count(Count::Ffn)]
    }

    /// Go on from sums that [`Observer::sums`] once gave.
    pub fn set_sums(&mut self, n: usize, sums: Sums) {
        self.watched[n].set(sums);
    }
}
