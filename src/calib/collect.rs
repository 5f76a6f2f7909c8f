//! Run a model over a text and watch its Linears.

use super::{Entry, Statistics};
use crate::error::{Error, Result};
use crate::model::{Model, Session};
use crate::progress::Progress;
use crate::windows::Windows;
use std::path::Path;

/// The statistics of `model` on `windows`, which are of `text`; of its path they keep the name. `progress` hears of tokens.
///
/// # Errors
/// A model that takes no context of that length, [`Error::Interrupted`].
pub fn collect(model: &Model, windows: &Windows, text: &Path, progress: &dyn Progress) -> Result<Statistics> {
    let mut session = Session::new(model, windows.context)?;
    session.watch();
    for window in windows.iter() {
        session.rewind(0);
        session.forward(window)?;
        progress.advance(windows.context as u64);
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
    }
    let entries = session.watched().map(|(name, tokens, squares)| {
        let squares = squares.iter().map(|sum| *sum as f32).collect();
        (name, Entry { squares, counts: vec![tokens as f32] })
    });
    Ok(Statistics {
        datasets: text.file_name().map(|name| name.to_string_lossy().into_owned()).into_iter().collect(),
        chunks: windows.iter().len() as u32,
        context: windows.context as u32,
        entries: entries.collect(),
    })
}
