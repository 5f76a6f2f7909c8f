//! Runs that end early are gone on with, and outputs are made together.

use crate::support::names;
use crate::{outputs, run, workshop};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use tersor::progress::{Progress, Silent, Unit, Watch};
use tersor::recipe::{Cache, How, Outcome, Recipe};
use tersor::report::KeptResult;
use tersor::{Error, Result};

/// A file with tensors in common with the next one, and a folder.
const THREE: &str = r#"
source = "tiny-llama"
out_dir = "build"
[[output]]
file = "small-Q4_K_M.gguf"
type = "q4_k_m"
[[output]]
file = "small-Q5_K_M.gguf"
type = "q5_k_m"
[[output]]
file = "floats"
dtype = "f16"
split_max_size = "2M"
"#;

/// Lets a run come so many bytes far.
struct Until(AtomicI64);

impl Watch for Until {
    fn phase(&self, _: Unit, _: u64) -> Box<dyn Progress + '_> {
        Box::new(Phase(self))
    }
    fn say(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }
}

struct Phase<'a>(&'a Until);

impl Progress for Phase<'_> {
    fn advance(&self, units: u64) {
        self.0.0.fetch_sub(units as i64, Ordering::Relaxed);
    }
    fn resume(&self, _: u64) {}
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// Run the recipe in `folder`; gives its results.
fn go(folder: &TempDir, watch: &dyn Watch) -> Result<Vec<KeptResult>> {
    let cache = Cache::open(Some(&folder.path().join("cache/tersor")))?;
    let recipe = Recipe::from_path(&folder.path().join("tersor.toml"))?;
    let how = How { threads: Some(2), ..How::default() };
    match recipe.resolve(&cache, false)?.run(&cache, &how, watch)? {
        Outcome::Done(report) => Ok(report.results),
        _ => panic!("nothing to do, or a limit"),
    }
}

fn stop_after(folder: &TempDir, bytes: i64) {
    let stopped = go(folder, &Until(AtomicI64::new(bytes)));
    assert!(matches!(stopped, Err(Error::Interrupted)), "{:?}", stopped.err());
}

fn files(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let floats = folder.path().join("build/floats");
    let inside = names(&floats).into_iter().map(|name| (name.clone(), fs::read(floats.join(name)).unwrap())).collect();
    fs::rename(floats, folder.path().join("floats")).unwrap();
    [outputs(folder), inside].concat()
}

fn cached(folder: &TempDir, file: &str) -> Vec<PathBuf> {
    let results = folder.path().join("cache/tersor/results");
    names(&results).into_iter().map(|key| results.join(key).join(file)).filter(|path| path.exists()).collect()
}

#[test]
fn a_run_goes_on_with_the_tensors_that_are_left() {
    let whole = workshop(THREE);
    assert!(go(&whole, &Silent).unwrap().iter().all(|result| result.finished == 0));
    assert!(cached(&whole, "journal").is_empty());
    let folder = workshop(THREE);
    stop_after(&folder, 8_000_000);
    assert_eq!(cached(&folder, "journal").len(), 3);
    assert!(!folder.path().join("build").exists());
    // As a kill leaves it: what is there is one line less, and half of one.
    for journal in cached(&folder, "journal") {
        let text = fs::read_to_string(&journal).unwrap();
        assert!(text.lines().count() > 4, "{text}");
        fs::write(&journal, &text[..text.len() - 100]).unwrap();
    }
    stop_after(&folder, 4_000_000);
    let results = go(&folder, &Silent).unwrap();
    assert!(results.iter().all(|result| result.finished > 4), "{results:?}");
    assert!(results.iter().all(|result| result.copied == 0), "{results:?}");
    assert!(files(&folder) == files(&whole));
    assert!(cached(&folder, "journal").is_empty());
}

#[test]
fn what_is_not_as_the_journal_says_is_made_again() {
    let whole = workshop(THREE);
    go(&whole, &Silent).unwrap();
    let folder = workshop(THREE);
    stop_after(&folder, 8_000_000);
    let [partial] = &cached(&folder, "small-Q4_K_M.gguf.partial")[..] else { panic!("one output") };
    let mut bytes = fs::read(partial).unwrap();
    let middle = bytes.len() / 8;
    bytes[middle..].fill(7);
    fs::write(partial, bytes).unwrap();
    // Nor is one of another layout: everything of it is made.
    let [other] = &cached(&folder, "small-Q5_K_M.gguf.partial")[..] else { panic!("one output") };
    let journal = other.with_file_name("journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen(|c: char| c.is_ascii_hexdigit(), "x", 1)).unwrap();
    let results = go(&folder, &Silent).unwrap();
    assert_eq!(results[1].finished, 0);
    assert!(files(&folder) == files(&whole));
}

#[test]
fn outputs_that_are_made_together_are_those_that_are_made_alone() {
    let together = workshop(THREE);
    run(&together, &[]).exits(0);
    let together = files(&together);
    assert!(together.iter().any(|(name, _)| name == "model.safetensors.index.json"));
    let parts: Vec<&str> = THREE.split("[[output]]").collect();
    let mut alone = Vec::new();
    for output in &parts[1..] {
        let folder = workshop(&format!("{}[[output]]{output}", parts[0]));
        run(&folder, &[]).exits(0);
        match folder.path().join("build/floats").exists() {
            true => alone.extend(files(&folder)),
            false => alone.extend(outputs(&folder)),
        }
    }
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&together), names(&alone));
    assert!(together == alone);
}
