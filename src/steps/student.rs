//! Who learns.

use super::prune::MULTIPLE;
use crate::arch::Count;
use crate::calib::collect;
use crate::distill::Tokens;
use crate::error::{Error, Result};
use crate::model::Observer;
use crate::options::{StudentArg, TextsArgs};
use crate::progress::Silent;
use crate::progress::{Unit, Watch, metered};
use crate::prune::{self, Method, Sizes};
use crate::source::Source;
use crate::windows::Windows;
use std::path::{Path, PathBuf};
use tersor_kernels::Level;

/// Sequences of the training text that say which channels and heads a narrower student keeps.
const SEQUENCES: usize = 64;

/// The texts that a student is to learn from, and how many threads may run.
pub(crate) struct Learning<'a> {
    pub(crate) texts: &'a TextsArgs,
    pub(crate) threads: usize,
    pub(crate) watch: &'a dyn Watch,
}

/// The texts as the tokenizer of `source` reads them.
pub(crate) fn tokens(source: &Source, texts: &TextsArgs) -> Result<Tokens> {
    Tokens::read(source, &texts.train, &texts.field, texts.ctx)
}

/// The student that is asked for; one that is cut from its teacher keeps what the training text makes most of.
pub(crate) fn student(asked: &StudentArg, teacher: Option<&Source>, learning: &Learning<'_>) -> Result<Source> {
    match (asked, teacher) {
        (StudentArg::Model(path), _) => open(path),
        (StudentArg::Cut(cut), Some(teacher)) => {
            let sizes = Sizes { ffn: cut.ffn, heads: cut.heads, hidden: cut.hidden, multiple: MULTIPLE };
            let narrowed = if sizes.is_empty() { teacher.clone() } else { narrower(teacher, sizes, learning)? };
            match cut.depth {
                Some(blocks) => shallower(&narrowed, blocks),
                None => Ok(narrowed),
            }
        }
        (StudentArg::Cut(_), None) => {
            let problem = "there is no teacher that the student could be cut from".to_owned();
            Err(Error::Usage { problem, hint: "pass a folder or a config.json as `--student`".into() })
        }
    }
}

/// A checkpoint, or a config.json without weights.
pub(crate) fn open(path: &Path) -> Result<Source> {
    if path.file_name().is_some_and(|name| name == "config.json") {
        return Source::without_weights(path);
    }
    Source::open(path)
}

/// Blocks of the teacher, evenly spread, the first and the last among them.
fn shallower(teacher: &Source, blocks: usize) -> Result<Source> {
    let all = teacher.settings()?[Count::Layers] as usize;
    if blocks == 0 || blocks > all {
        let problem = format!("{blocks} blocks cannot be kept of {all}");
        return Err(Error::Usage { problem, hint: format!("ask for 1 to {all}") });
    }
    let kept: Vec<usize> = (0..blocks).map(|n| (n * (all - 1) + (blocks - 1) / 2) / (blocks - 1).max(1)).collect();
    let dropped = (0..all).filter(|n| !kept.contains(n)).collect();
    if blocks == all {
        return Ok(teacher.clone());
    }
    let settings = prune::Settings { level: Level::best(), threads: 1, progress: &Silent };
    Ok(prune::prune(teacher.clone(), &Method::Drop(dropped), &settings)?.source)
}

/// Channels and heads of the teacher, by what goes through them on the training text.
fn narrower(teacher: &Source, sizes: Sizes, learning: &Learning<'_>) -> Result<Source> {
    let tokens = tokens(teacher, learning.texts)?;
    let ids = (0..tokens.sequences().min(SEQUENCES)).flat_map(|n| tokens.fixed(n).0.to_vec()).collect();
    let windows = Windows::of(teacher, ids, tokens.context())?;
    let observer = Observer::new(teacher.clone(), tokens.context(), Level::best(), learning.threads)?;
    let text = learning.texts.train.first().map_or(Path::new(""), PathBuf::as_path);
    let statistics = metered(learning.watch, Unit::Tokens, windows.total(), |meter| {
        collect(observer, &windows, text, None, None, meter)
    })?;
    let settings = prune::Settings { level: Level::best(), threads: learning.threads, progress: &Silent };
    Ok(prune::prune(teacher.clone(), &Method::Width { sizes, statistics }, &settings)?.source)
}
