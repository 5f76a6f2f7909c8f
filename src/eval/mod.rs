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
    let mut base = base.map(|base| Ok((base, Session::new(base, windows.context)?))).transpose()?;
    let mut tally = Tally::new(windows.vocabulary());
    let (mut logits, mut base_logits) = (Vec::new(), Vec::new());
    for window in windows.iter() {
        session.rewind(0);
        let hidden = session.forward(window)?;
        let base_hidden = match &mut base {
            Some((_, session)) => {
                session.rewind(0);
                session.forward(window)?
            }
            None => Vec::new(),
        };
        let scored = windows.scored();
        for first in scored.clone().step_by(AT_ONCE) {
            let rows = first..scored.end.min(first + AT_ONCE);
            let targets = &window[rows.start + 1..rows.end + 1];
            model.logits(of_rows(&hidden, rows.clone(), windows.context), &mut logits)?;
            if let Some((base, _)) = &base {
                base.logits(of_rows(&base_hidden, rows, windows.context), &mut base_logits)?;
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

/// Some rows of a matrix of `all` rows.
fn of_rows(values: &[f32], rows: std::ops::Range<usize>, all: usize) -> &[f32] {
    let width = values.len() / all;
    &values[rows.start * width..rows.end * width]
}
