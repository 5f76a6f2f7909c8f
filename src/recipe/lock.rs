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
    /// What outputs calibrate with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) statistics: Vec<Locked>,
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
    /// The key of the statistics that an output is made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) statistics: Option<String>,
    /// A pass that runs a model: the instruction set, the number of threads, and the GPU if there was one.
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
        Lock {
            lock: LAYOUT,
            tersor,
            encoders: ENCODERS,
            beside,
            inputs,
            pass: Vec::new(),
            statistics: Vec::new(),
            output: Vec::new(),
        }
    }

    /// What outputs are made from besides the inputs.
    pub(super) fn artifacts(&self) -> impl Iterator<Item = &Locked> {
        self.pass.iter().chain(&self.statistics)
    }

    /// The number of the statistics that an output is made with.
    pub(super) fn statistics_of(&self, output: &Locked) -> Option<usize> {
        let key = output.statistics.as_ref()?;
        self.statistics.iter().position(|statistics| statistics.key == *key)
    }

    /// Under what the cache has the result of a pass, once those before it have theirs.
    pub(super) fn key_of_pass(&self, n: usize) -> String {
        kept_key(&self.pass[n], n.checked_sub(1).map(|before| &self.pass[before]))
    }

    /// The same for statistics.
    pub(super) fn key_of_statistics(&self, n: usize) -> String {
        kept_key(&self.statistics[n], self.pass.last())
    }

    /// The same for an output.
    pub(super) fn key_of_output(&self, n: usize) -> String {
        let statistics = self.statistics_of(&self.output[n]).map(|n| &self.statistics[n]);
        kept_key(&self.output[n], self.pass.last().into_iter().chain(statistics))
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

/// The key of what is made from `before` by what the lines say.
pub(super) fn key_of(before: &str, lines: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes());
    for line in lines {
        hasher.update(&[0]).update(line.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What is planned alike may still come of other bytes: passes that run a model give others on other machines.
fn kept_key<'a>(one: &Locked, from: impl IntoIterator<Item = &'a Locked>) -> String {
    key_of(&one.key, &from.into_iter().map(|locked| locked.blake3.clone()).collect::<Vec<_>>())
}

/// Lines that only one of them has.
fn differences(now: &[String], then: &[String]) -> String {
    let new = now.iter().filter(|line| !then.contains(line)).map(|line| format!("+{line}"));
    let old = then.iter().filter(|line| !now.contains(line)).map(|line| format!("-{line}"));
    new.chain(old).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(key: &str, blake3: &str) -> Locked {
        let (options, statistics) = (Vec::new(), None);
        Locked { file: None, options, key: key.into(), statistics, made_at: None, bytes: 0, blake3: blake3.into() }
    }

    /// What a pass gives may differ where its key does not: that which is made of it is another then.
    #[test]
    fn keys_in_the_cache_know_what_a_result_is_made_from() {
        let keys = |pass: &str, statistics: &str| {
            let mut lock = Lock::new(Vec::new(), BTreeMap::new());
            lock.pass = vec![locked("a", pass), locked("b", "2")];
            lock.statistics = vec![locked("c", statistics)];
            let output = Locked { statistics: Some("c".into()), ..locked("d", "") };
            lock.output = vec![output, locked("d", "")];
            let outputs = (0..2).map(|n| lock.key_of_output(n));
            [lock.key_of_pass(0), lock.key_of_pass(1), lock.key_of_statistics(0)].into_iter().chain(outputs).collect()
        };
        let same = |a: Vec<String>, b: Vec<String>| a.iter().zip(&b).map(|(a, b)| a == b).collect::<Vec<bool>>();
        assert_eq!(same(keys("1", "3"), keys("4", "3")), [true, false, true, true, true]);
        assert_eq!(same(keys("1", "3"), keys("1", "4")), [true, true, true, false, true]);
        let mut all = keys("1", "3");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5);
    }
}
