//! The lock file: what the last run was made from, and what came of it.

use crate::error::{Error, Result};
use crate::run::ENCODERS;
use crate::sink::write_file;
use crate::source::read_text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of its layout.
const LAYOUT: u32 = 1;

const HEAD: &str = "# Written by `tersor run`. Commit it: `tersor run --locked` fails when anything differs.\n";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    pub(super) lock: u32,
    /// The version that made it.
    pub(super) tersor: String,
    /// See [`ENCODERS`].
    pub(super) encoders: u32,
    /// What decides the run besides what follows: limits, evaluation, benchmark.
    pub(super) beside: Vec<String>,
    /// BLAKE3 of every file that is read.
    pub(super) inputs: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pass: Vec<Locked>,
    pub(super) output: Vec<Locked>,
}

/// A pass or an output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Locked {
    /// Of an output, relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    /// The kind with its revision, then the options.
    pub(super) options: Vec<String>,
    /// A hash of all that it is made from.
    pub(super) key: String,
    /// A pass that runs a model: the instruction set, and the number of threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made_at: Option<String>,
    /// Bytes of what came of it.
    #[serde(default)]
    pub(super) bytes: u64,
    /// Its hash; nothing before a run.
    #[serde(default)]
    pub(super) blake3: String,
}

impl Lock {
    pub(super) fn new(beside: Vec<String>, inputs: BTreeMap<String, String>) -> Lock {
        let tersor = env!("CARGO_PKG_VERSION").to_owned();
        Lock { lock: LAYOUT, tersor, encoders: ENCODERS, beside, inputs, pass: Vec::new(), output: Vec::new() }
    }

    /// The hash of an input.
    pub(super) fn hash_of(&self, input: &str) -> String {
        self.inputs.get(input).cloned().unwrap_or_default()
    }

    /// That of `path`; `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Lock>> {
        if !path.exists() {
            return Ok(None);
        }
        let found = toml::from_str(&read_text(path)?);
        let odd =
            |e: toml::de::Error| Error::malformed(path, "text", e.message().to_owned(), "a lock file of this version");
        found.map(Some).map_err(odd)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).expect("texts, numbers and lists of them");
        write_file(path, format!("{HEAD}{text}").into_bytes(), true)
    }

    /// What is asked for now and was not in `before`, or otherwise.
    pub(super) fn changes(&self, before: &Lock) -> Vec<String> {
        let mut changes = Vec::new();
        if (self.lock, &self.tersor) != (before.lock, &before.tersor) {
            changes.push(format!("tersor is {}, it was {}", self.tersor, before.tersor));
        }
        if self.encoders != before.encoders {
            changes.push(format!("encoders are of revision {}, they were of {}", self.encoders, before.encoders));
        }
        for (path, hash) in &self.inputs {
            match before.inputs.get(path) {
                None => changes.push(format!("`{path}` is new")),
                Some(old) if old != hash => changes.push(format!("`{path}` changed")),
                Some(_) => {}
            }
        }
        let gone = before.inputs.keys().filter(|path| !self.inputs.contains_key(*path));
        changes.extend(gone.map(|path| format!("`{path}` is not read any more")));
        for (what, now, then) in [("pass", &self.pass, &before.pass), ("output", &self.output, &before.output)] {
            if now.len() != then.len() {
                changes.push(format!("{} of {what}, there were {}", now.len(), then.len()));
            }
            for (n, (now, then)) in now.iter().zip(then).enumerate() {
                let name = now.file.clone().unwrap_or_else(|| format!("{what} {}", n + 1));
                if now.file != then.file {
                    changes.push(format!("`{name}` is another output"));
                } else if now.options != then.options {
                    changes.push(format!("{name} has other options: {}", differences(&now.options, &then.options)));
                }
            }
        }
        if self.beside != before.beside {
            changes.push(format!("measured otherwise: {}", differences(&self.beside, &before.beside)));
        }
        changes
    }
}

/// Lines that only one of them has.
fn differences(now: &[String], then: &[String]) -> String {
    let new = now.iter().filter(|line| !then.contains(line)).map(|line| format!("+{line}"));
    let old = then.iter().filter(|line| !now.contains(line)).map(|line| format!("-{line}"));
    new.chain(old).collect::<Vec<_>>().join(" ")
}
