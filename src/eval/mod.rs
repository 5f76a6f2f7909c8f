//! What a model still knows: perplexity, how far its predictions are from a base model's, answers to tasks, and texts beside
//! references.
//!
//! For perplexity and divergence, definitions and windows are those of llama-perplexity: a text is cut into contexts, each
//! begins with the bos token where the tokenizer adds one, and the second half of each is scored.

mod bleu;
mod choice;
mod rouge;
mod score;
mod tasks;
mod written;

pub use choice::{Asked, Questions, TaskScores};
pub use score::{Divergence, Estimate, Scores};
pub use tasks::{Item, TASKS, Task};
pub use written::{Prompts, WrittenScores};

use crate::error::{Error, Result};
use crate::model::{Model, Session};
use crate::progress::Progress;
use crate::windows::Windows;
pub(crate) use score::Tally;

/// Predictions whose logits are in memory at a time: some tens of megabytes for the largest vocabularies.
const AT_ONCE: usize = 64;

/// Score `model` on `windows`, beside `base` where there is one. `progress` hears of tokens.
///
/// # Errors
/// A model that takes no context of that length, [`Error::Interrupted`].
pub fn evaluate(model: &Model, base: Option<&Model>, windows: &Windows, progress: &dyn Progress) -> Result<Scores> {
    let mut session = Session::new(model, windows.context)?;
    let mut base = base.map(|base| Session::new(base, windows.context)).transpose()?;
    let mut tally = Tally::new(windows.vocabulary());
    let (mut logits, mut base_logits) = (Vec::new(), Vec::new());
    for window in windows.iter() {
        session.rewind(0);
        session.forward(window)?;
        if let Some(base) = &mut base {
            base.rewind(0);
            base.forward(window)?;
        }
        let scored = windows.scored();
        for first in scored.clone().step_by(AT_ONCE) {
            let rows = first..scored.end.min(first + AT_ONCE);
            let targets = &window[rows.start + 1..rows.end + 1];
            session.logits(rows.clone(), &mut logits)?;
            if let Some(base) = &mut base {
                base.logits(rows, &mut base_logits)?;
            }
            tally.add(targets, &logits, base.is_some().then_some(&base_logits));
        }
        progress.advance(windows.context as u64);
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
    }
    Ok(tally.scores())
}
