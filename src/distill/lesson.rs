//! The teacher's predictions beside the student's.

use super::cache::Top;
use super::loss::{Divergence, Loss, Taught};
use super::matching::Matching;
use crate::arch::Count;
use crate::error::Result;
use crate::model::train::{Batch, Network, Objective, States};
use crate::model::{Model, Session};
use std::ops::Range;
use tersor_kernels::Level;

/// A model that runs beside the one that learns.
pub(super) struct Teacher<'m> {
    model: &'m Model,
    session: Session<'m>,
    /// Of the sequences that it heard last.
    hidden: Vec<f32>,
    /// The same after each of these blocks.
    states: Vec<(usize, Vec<f32>)>,
    logits: Vec<f32>,
    /// The row of the first logits.
    first: usize,
}

impl<'m> Teacher<'m> {
    /// For sequences of at most `context` tokens; hidden states after `blocks` are kept.
    pub(super) fn new(model: &'m Model, context: usize, blocks: impl Iterator<Item = usize>) -> Result<Teacher<'m>> {
        let session = Session::new(model, context)?;
        let states = blocks.map(|block| (block, Vec::new())).collect();
        Ok(Teacher { model, session, hidden: Vec::new(), states, logits: Vec::new(), first: 0 })
    }

    /// Run over `tokens`, sequences of `context` each.
    pub(super) fn listen(&mut self, tokens: &[u32], context: usize) -> Result<()> {
        self.hidden.clear();
        self.states.iter_mut().for_each(|(_, rows)| rows.clear());
        for sequence in tokens.chunks_exact(context) {
            self.session.rewind(0);
            let mut x = self.session.embed(sequence)?;
            let mut done = 0;
            for (block, rows) in &mut self.states {
                self.session.through(done..*block + 1, &mut x)?;
                rows.extend_from_slice(&x);
                done = *block + 1;
            }
            self.session.through(done..self.model.layers(), &mut x)?;
            self.hidden.extend(self.session.normalized(&x)?);
        }
        Ok(())
    }

    fn prepare(&mut self, rows: Range<usize>) -> Result<()> {
        let width = self.model.settings()[Count::Hidden] as usize;
        self.first = rows.start;
        self.model.logits(&self.hidden[rows.start * width..rows.end * width], &mut self.logits)
    }

    fn row(&self, row: usize) -> &[f32] {
        let width = self.model.vocabulary();
        &self.logits[(row - self.first) * width..][..width]
    }
}

/// One batch to learn from.
pub(super) struct Lesson<'a, 'm> {
    pub(super) teacher: Option<&'a mut Teacher<'m>>,
    /// What a teacher once predicted, in place of one.
    pub(super) told: Option<&'a [Top]>,
    /// The token after each.
    pub(super) targets: &'a [u32],
    /// Those whose predictions count.
    pub(super) rows: Range<usize>,
    pub(super) loss: Loss,
    /// Hidden states that are to come near the teacher's.
    pub(super) matching: Option<&'a Matching>,
    /// Ids that both know; what stands beyond them is padding.
    pub(super) vocabulary: usize,
    /// What gradients are multiplied with.
    pub(super) scale: f32,
    pub(super) level: Level,
}

impl Objective for Lesson<'_, '_> {
    fn prepare(&mut self, rows: Range<usize>) -> Result<()> {
        match &mut self.teacher {
            Some(teacher) if self.told.is_none() => teacher.prepare(rows),
            _ => Ok(()),
        }
    }

    fn turn(&self, row: usize, logits: &mut [f32]) -> [f64; 3] {
        if !self.rows.contains(&row) {
            logits.fill(0.0);
            return [0.0; 3];
        }
        let (known, padding) = logits.split_at_mut(self.vocabulary.min(logits.len()));
        padding.fill(0.0);
        let taught = match (self.told, &self.teacher) {
            (Some(told), _) => Some(Taught::Top(&told[row])),
            (None, teacher) => teacher.as_ref().map(|teacher| Taught::Logits(&teacher.row(row)[..known.len()])),
        };
        let target = Some(self.targets[row] as usize).filter(|target| *target < known.len());
        let parts = self.loss.turn(self.level, known, taught, target, self.scale);
        [parts.total, parts.divergence, parts.cross_entropy]
    }

    fn states(&self, block: usize) -> Option<States<'_>> {
        let (matching, teacher) = self.matching.zip(self.teacher.as_ref())?;
        let (_, of) = matching.pairs.iter().find(|(own, _)| *own == block)?;
        let (_, rows) = teacher.states.iter().find(|(block, _)| block == of)?;
        let scale = self.scale * matching.weight / matching.pairs.len() as f32;
        Some(States { rows, nearness: matching.nearness, scale })
    }
}

/// Sums over the scored predictions of one context: half of both, KL from the teacher, negative log likelihood.
pub(super) fn measure(
    network: &Network,
    mut teacher: Option<&mut Teacher<'_>>,
    window: &[u32],
    scored: Range<usize>,
    vocabulary: usize,
    level: Level,
) -> Result<[f64; 3]> {
    if let Some(teacher) = &mut teacher {
        teacher.listen(window, window.len())?;
    }
    // Half of each, so that both are computed; gradients are not wanted.
    let loss = Loss { divergence: Divergence::Forward, temperature: 1.0, cross_entropy: 0.5 };
    let targets = &window[1..];
    let lesson =
        Lesson { teacher, told: None, targets, rows: scored, loss, matching: None, vocabulary, scale: 0.0, level };
    let batch = Batch { tokens: window, context: window.len(), dropout: None, recompute: true };
    let [loss, kl, entropy, _] = network.losses(&batch, &mut { lesson }, None)?;
    Ok([loss, kl, entropy])
}
