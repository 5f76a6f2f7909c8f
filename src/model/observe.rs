//! Blocks one at a time, to see what goes into their Linears.

use super::attention::Kept;
use super::choice::on_device;
use super::device::{Shape, Watching};
use super::layer::{Frame, Layer, Pass};
use super::load::{Embedding, Loader, frame};
use super::watch::{NAMES, Watched};
use super::{Choice, Computed, Weights};
use crate::arch::Count;
use crate::error::Result;
use crate::progress::Silent;
use crate::source::Source;
use tersor_kernels::Level;
use tersor_kernels::matmul::Activations;

/// Sums of squares per column, for the inputs that Linears of one block share; empty where none were seen.
pub type Sums = [Vec<f64>; NAMES.len()];

/// A model without its head, of which as many blocks are in memory as there is room for.
pub struct Observer {
    frame: Frame,
    embedding: Embedding,
    state: State,
    computed: Computed,
}

/// Where the blocks run.
enum State {
    Here(Here),
    There(Box<Watching>),
}

struct Here {
    /// Block by block; `None` where it is not in memory.
    layers: Vec<Option<Layer>>,
    /// The keys and values of the block that runs.
    kept: Vec<Kept>,
    turns: Vec<Vec<f32>>,
    packed: Activations,
    watched: Vec<Watched>,
}

impl Observer {
    /// The model of `source` on the CPU, for sequences of `context` tokens. No weights are read yet.
    ///
    /// # Errors
    /// A family that is not known, or a model that takes no sequence of that length.
    pub fn new(source: Source, context: usize, level: Level, threads: usize) -> Result<Observer> {
        Observer::new_on(Choice::Cpu, source, context, level, threads)
    }

    /// The same on the device of a choice. On a GPU the first block is run, so that what cannot be is known before anything is
    /// computed in earnest.
    ///
    /// # Errors
    /// Those of [`Observer::new`]; [`crate::Error::Device`] when a GPU was asked for by its number and cannot be used.
    pub fn new_on(choice: Choice, source: Source, context: usize, level: Level, threads: usize) -> Result<Observer> {
        let parts = || -> Result<(Frame, Embedding)> {
            let frame = frame(&source, level, threads)?;
            frame.check_length(context)?;
            let embedding = Embedding::new(source.clone(), &frame)?;
            Ok((frame, embedding))
        };
        let cpu = |computed| {
            let (frame, embedding) = parts()?;
            Ok(Observer { state: State::Here(Here::new(&frame, context)?), frame, embedding, computed })
        };
        let gpu = |ordinal| {
            let (frame, embedding) = parts()?;
            let there = there(ordinal, &frame, &embedding, context)?;
            let computed = Computed::on_gpu(there.name());
            let mut observer = Observer { state: State::There(Box::new(there)), frame, embedding, computed };
            observer.try_out()?;
            Ok(observer)
        };
        on_device(choice, gpu, cpu)
    }

    /// Run a block of nothing, and forget what was seen.
    fn try_out(&mut self) -> Result<()> {
        self.load(0)?;
        let mut nothing = vec![0.0; self.hidden()];
        self.run(0, &mut nothing)?;
        self.unload(0);
        self.set_sums(0, Sums::default())
    }

    /// What it runs on.
    pub fn computed(&self) -> &Computed {
        &self.computed
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.frame.count(Count::Layers)
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
        loader(&self.frame, &self.embedding).layer_bytes(n as u32)
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
    /// Tensors that are missing or of another shape, files that cannot be read, [`crate::Error::Device`].
    pub fn load(&mut self, n: usize) -> Result<()> {
        let (frame, loader) = (&self.frame, loader(&self.frame, &self.embedding));
        match &mut self.state {
            State::Here(here) if here.layers[n].is_none() => {
                here.layers[n] = Some(frame.pool.install(|| loader.layer(n as u32))?);
                Ok(())
            }
            State::Here(_) => Ok(()),
            State::There(there) => there.load(n, &loader),
        }
    }

    /// Give the memory of block `n` back.
    pub fn unload(&mut self, n: usize) {
        match &mut self.state {
            State::Here(here) => here.layers[n] = None,
            State::There(there) => there.unload(n),
        }
    }

    /// The hidden states of a whole sequence through block `n`, whose inputs are added to its sums.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    ///
    /// # Panics
    /// When the block is not in memory.
    pub fn run(&mut self, n: usize, hidden: &mut [f32]) -> Result<()> {
        match &mut self.state {
            State::Here(here) => {
                here.run(&self.frame, n, hidden);
                Ok(())
            }
            State::There(there) => Ok(there.run(n, hidden)?),
        }
    }

    /// The sums of block `n`.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn sums(&self, n: usize) -> Result<Sums> {
        match &self.state {
            State::Here(here) => Ok(here.watched[n].sums().clone()),
            State::There(there) => Ok(there.sums(n)?),
        }
    }

    /// For each of the sums of block `n`, the names in GGUF of the matrices that it is for.
    pub fn names(&self, n: usize) -> impl Iterator<Item = impl Iterator<Item = String>> {
        NAMES.iter().map(move |names| names.iter().map(move |name| format!("blk.{n}.{name}.weight")))
    }

    /// Columns of every input of a block, by the order of [`Sums`].
    pub fn widths(&self) -> [usize; 4] {
        widths(&self.frame)
    }

    /// Go on from sums that [`Observer::sums`] once gave.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub fn set_sums(&mut self, n: usize, sums: Sums) -> Result<()> {
        match &mut self.state {
            State::Here(here) => here.watched[n].set(sums),
            State::There(there) => there.set_sums(n, &sums)?,
        }
        Ok(())
    }
}

fn loader<'a>(frame: &'a Frame, embedding: &'a Embedding) -> Loader<'a> {
    let (source, settings) = (embedding.source(), &frame.settings);
    Loader { source, settings, weights: Weights::AsStored, level: frame.level, progress: &Silent }
}

fn widths(frame: &Frame) -> [usize; 4] {
    let heads = frame.count(Count::Heads) * frame.count(Count::HeadSize);
    let hidden = frame.count(Count::Hidden);
    [hidden, heads, hidden, frame.count(Count::Ffn)]
}

fn there(ordinal: usize, frame: &Frame, embedding: &Embedding, context: usize) -> Result<Watching> {
    let (shape, turns) = (Shape::of(frame), frame.turns(0, context).concat());
    Watching::new(ordinal, &loader(frame, embedding), shape, &turns, widths(frame))
}

impl Here {
    fn new(frame: &Frame, context: usize) -> Result<Here> {
        let count = frame.count(Count::Layers);
        Ok(Here {
            layers: (0..count).map(|_| None).collect(),
            kept: frame.kept(context)?,
            turns: frame.turns(0, context),
            packed: Activations::new(frame.level),
            watched: vec![Watched::default(); count],
        })
    }

    fn run(&mut self, frame: &Frame, n: usize, hidden: &mut [f32]) {
        let layer = self.layers[n].as_ref().expect("the block was loaded");
        let turns = &self.turns[..hidden.len() / frame.count(Count::Hidden)];
        let (packed, watched) = (&mut self.packed, Some(&mut self.watched[n]));
        let mut pass = Pass { frame, position: 0, turns, packed, watched };
        frame.pool.install(|| pass.run(layer, &mut self.kept, hidden));
    }
}
