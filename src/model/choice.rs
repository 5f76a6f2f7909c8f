//! What a model is computed on.

use super::device::has_driver;
use super::{Model, Session, Weights};
use crate::arch::Count;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::Source;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use tersor_kernels::Level;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first GPU, or the CPU where that cannot be.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this number, or nothing.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Choice, String> {
        let ordinal = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::Cuda(0)),
            _ => ordinal.map(Choice::Cuda).ok_or_else(|| "`auto`, `cpu` or `cuda:N` is wanted".into()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => write!(f, "auto"),
            Choice::Cpu => write!(f, "cpu"),
            Choice::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Computed {
    /// `cpu`, or the name of a GPU.
    pub device: String,
    /// Why it was the CPU where a GPU would have been taken.
    pub reason: Option<String>,
    /// The reason is not that there is no GPU at all.
    #[serde(skip)]
    unusual: bool,
}

impl Computed {
    pub(super) fn on_cpu() -> Computed {
        Computed { device: "cpu".into(), reason: None, unusual: false }
    }

    pub(super) fn on_gpu(name: &str) -> Computed {
        Computed { device: name.to_owned(), ..Computed::on_cpu() }
    }

    pub(super) fn instead(why: &str) -> Computed {
        Computed { reason: Some(why.to_owned()), unusual: has_driver(), ..Computed::on_cpu() }
    }

    /// The name of the GPU.
    pub fn gpu(&self) -> Option<&str> {
        Some(self.device.as_str()).filter(|device| *device != "cpu")
    }

    /// In a line, where it is not what everyone expects.
    pub fn told(&self) -> Option<String> {
        match &self.reason {
            None => self.gpu().map(|name| format!("computed on {name}")),
            Some(why) => self.unusual.then(|| format!("computed on the CPU: {why}")),
        }
    }
}

/// Do something on the device of a choice; what keeps a GPU from it lets `auto` do it on the CPU.
pub(super) fn on_device<T>(
    choice: Choice,
    gpu: impl FnOnce(usize) -> Result<T>,
    cpu: impl FnOnce(Computed) -> Result<T>,
) -> Result<T> {
    match choice {
        Choice::Cpu => cpu(Computed::on_cpu()),
        Choice::Cuda(ordinal) => gpu(ordinal),
        Choice::Auto => match gpu(0) {
            Err(Error::Device { reason }) => cpu(Computed::instead(&reason)),
            other => other,
        },
    }
}

/// What a model is to have memory for beside its weights.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Those of them that run together.
    pub at_once: usize,
}

impl Room {
    /// All tokens of a sequence run together.
    pub fn for_all(tokens: usize) -> Room {
        Room { tokens, at_once: tokens }
    }
}

impl Model {
    /// Load all weights on the device of a choice. On a GPU memory for such sequences is reserved and one token is run, so that what
    /// cannot be is known before anything is computed in earnest.
    ///
    /// # Errors
    /// Those of [`Model::load`]; [`Error::Device`] when a GPU was asked for by its number and cannot be used.
    pub fn load_on(
        (choice, room): (Choice, Room),
        source: Source,
        weights: Weights,
        level: Level,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Model> {
        let gpu = |ordinal| {
            let model = Model::load_on_gpu(ordinal, source.clone(), weights, level, threads, progress)?;
            model.try_out(room)?;
            Ok(model)
        };
        let cpu = |computed| {
            let model = Model::load(source.clone(), weights, level, threads, progress)?;
            Ok(Model { computed, ..model })
        };
        on_device(choice, gpu, cpu)
    }

    fn try_out(&self, room: Room) -> Result<()> {
        // What is longer than the model takes is told when it is asked for.
        let tokens = room.tokens.clamp(1, self.frame.count(Count::Context));
        let mut session = Session::new(self, tokens)?;
        session.reserve(room.at_once.clamp(1, tokens))?;
        session.forward(&[0])?;
        // So are predictions that are no numbers.
        match session.last_logits(&mut Vec::new()) {
            Err(Error::NoPrediction { .. }) => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for (text, choice) in [("auto", Choice::Auto), ("cpu", Choice::Cpu), ("cuda:3", Choice::Cuda(3))] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_a_device_refuses_is_done_elsewhere() {
        let gone = || Error::Device { reason: "gone".into() };
        let on =
            |choice, gpu: Result<String>| on_device(choice, |_| gpu, |computed| Ok(format!("{:?}", computed.reason)));
        assert_eq!(on(Choice::Auto, Err(gone())).unwrap(), "Some(\"gone\")");
        assert_eq!(on(Choice::Cpu, Err(gone())).unwrap(), "None");
        assert_eq!(on(Choice::Auto, Ok("gpu".into())).unwrap(), "gpu");
        assert!(matches!(on(Choice::Cuda(0), Err(gone())), Err(Error::Device { .. })));
        assert!(matches!(on(Choice::Auto, Err(Error::Interrupted)), Err(Error::Interrupted)));
    }
}
