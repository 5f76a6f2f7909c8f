//! Recipes in Cargo's build scripts.

use super::{Cache, How, Outcome, Recipe};
use crate::error::{Error, Result};
use crate::progress::Silent;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a build script made.
#[derive(Debug)]
pub struct Script {
    /// The outputs, in the recipe's order.
    pub outputs: Vec<PathBuf>,
    /// Everything that they are made from.
    pub inputs: Vec<PathBuf>,
}

/// Make what the recipe at `path` asks for in Cargo's `OUT_DIR`, wherever else its outputs go, and tell Cargo what they depend
/// on. Gives the outputs, in the recipe's order.
///
/// # Errors
/// Outside a build script; those of the recipe, and a limit that fails.
///
/// ```no_run
/// // build.rs
/// let files = tersor::build("tersor.toml").unwrap();
/// println!("cargo::rustc-env=MODEL={}", files[0].display());
/// ```
pub fn build(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let folder = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| Error::Usage {
        problem: "OUT_DIR is not set".into(),
        hint: "call this from a build script, or use `Recipe`".into(),
    })?;
    // Where there is no home, results last as long as the build's folder.
    let cache = Cache::open(None).or_else(|_| Cache::open(Some(&folder.join("tersor"))))?;
    let made = build_in(path.as_ref(), &folder, &cache)?;
    let lines: String =
        made.inputs.iter().map(|path| format!("cargo::rerun-if-changed={}\n", path.display())).collect();
    std::io::stdout().write_all(lines.as_bytes()).map_err(Error::io("write", Path::new("stdout")))?;
    Ok(made.outputs)
}

/// The same in any folder, without a word to Cargo.
///
/// # Errors
/// Those of the recipe, and a limit that fails.
///
/// ```
/// use tersor::recipe::{Cache, build_in};
/// let folder = tempfile::tempdir().unwrap();
/// let model = std::env::current_dir().unwrap().join("fixtures/tiny-llama");
/// let recipe = format!("source = {model:?}\n[[output]]\nfile = \"tiny.gguf\"\ntype = \"q8_0\"\n");
/// std::fs::write(folder.path().join("tersor.toml"), recipe).unwrap();
/// let cache = Cache::open(Some(&folder.path().join("cache")))?;
/// let made = build_in(&folder.path().join("tersor.toml"), &folder.path().join("out"), &cache)?;
/// assert!(made.outputs[0].ends_with("out/tiny.gguf") && made.outputs[0].is_file());
/// # Ok::<(), tersor::Error>(())
/// ```
pub fn build_in(path: &Path, folder: &Path, cache: &Cache) -> Result<Script> {
    let mut recipe = Recipe::from_path(path)?;
    for output in &mut recipe.outputs {
        output.file = folder.join(&output.name);
    }
    let mut planned = recipe.resolve(cache, false)?;
    // The folder is the build's own.
    let how = How { force: true, ..How::default() };
    if let Outcome::Failed(report) = planned.run(cache, &how, &Silent)? {
        let failed = report.limits.iter().filter(|limit| !limit.holds);
        let problem = failed.map(|limit| format!("{limit}")).collect::<Vec<_>>().join("; ");
        return Err(Error::Usage { problem, hint: "see [limits] of the recipe".into() });
    }
    let inputs = [recipe.path.clone()].into_iter().chain(planned.inputs.iter().cloned()).collect();
    Ok(Script { outputs: recipe.outputs.iter().map(|output| output.file.clone()).collect(), inputs })
}
