//! The order in which the pieces of one or several outputs are made.

use super::Running;
use super::piece::{Piece, pieces_of};
use crate::plan::{Input, TensorPlan};
use crate::tensor::TensorInfo;
use std::collections::{HashMap, HashSet};

/// A tensor of an output: the output's number, then its own.
pub(super) type Place = (usize, usize);

/// All pieces that are to be made.
pub(super) struct Queue {
    /// What is read of one tensor of the source comes together, for all outputs: so a source that is larger than the system's
    /// cache is read once.
    pub(super) pieces: Vec<Queued>,
    /// Tensors whose bytes are those of another output's.
    pub(super) same: HashMap<Place, Vec<Place>>,
}

/// A piece of the tensor with this number of an output.
pub(super) struct Queued {
    pub(super) output: usize,
    pub(super) piece: Piece,
    /// What it reads goes into the source's hash: one output does that for each tensor.
    pub(super) hashed: bool,
}

impl Queue {
    /// Everything but tensors that are in their places already.
    pub(super) fn new(outputs: &[Running<'_>]) -> Queue {
        let mut first: HashMap<&str, Place> = HashMap::new();
        let mut same: HashMap<Place, Vec<Place>> = HashMap::new();
        let mut ranks: HashMap<&str, usize> = HashMap::new();
        let mut hashed: HashSet<&str> = HashSet::new();
        let mut pieces: Vec<(usize, Queued)> = Vec::new();
        for (output, running) in outputs.iter().enumerate() {
            for (tensor, t) in running.task.job.plan.tensors.iter().enumerate() {
                let name = running.stored(t).map(|stored| stored.name.as_str());
                let next = ranks.len();
                let rank = name.map_or(next, |name| *ranks.entry(name).or_insert(next));
                let found = running.found.get(&tensor);
                if found.is_some_and(|found| found.is_in_place()) {
                    continue;
                }
                if found.is_none() {
                    let key = running.keys.get(tensor).and_then(Option::as_deref);
                    let leader = key.map_or((output, tensor), |key| *first.entry(key).or_insert((output, tensor)));
                    if leader != (output, tensor) {
                        same.entry(leader).or_default().push((output, tensor));
                        continue;
                    }
                }
                let hashed = found.is_none() && name.is_some_and(|name| hashed.insert(name));
                pieces.extend(pieces_of(tensor, t).map(|piece| (rank, Queued { output, piece, hashed })));
            }
        }
        pieces.sort_by_key(|(rank, queued)| (*rank, queued.piece.start, queued.output));
        Queue { pieces: pieces.into_iter().map(|(_, queued)| queued).collect(), same }
    }
}

impl<'a> Running<'a> {
    /// What a tensor is made from.
    pub(super) fn stored(&self, t: &TensorPlan) -> Option<&'a TensorInfo> {
        let Input::Stored { id, .. } = &t.input else { return None };
        Some(self.task.source.tensor(*id))
    }
}
