//! A temporary folder in which tersor makes files and Python scripts look at them.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// What a script exits with when something that it needs is missing.
const SKIPPED: i32 = 77;

/// llama.cpp's threads spin while they wait, so two models at once are slower than one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Workshop {
    dir: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Workshop {
        Workshop { dir: TempDir::new().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `tersor quantize MODEL --type TYPE ARGS`; gives the output's path.
    pub(crate) fn quantize(&self, model: &Path, file_type: &str, args: &[&OsStr]) -> PathBuf {
        let name = model.file_name().expect("a model's path has a name").to_string_lossy();
        let out = self.path(&format!("{name}-{file_type}.gguf"));
        tersor("quantize", model, &[&[OsStr::new("--type"), OsStr::new(file_type)], args].concat(), &out);
        out
    }

    /// `tersor quantize MODEL --type f32`; gives the output's path, or the message if tersor refuses the model.
    pub(crate) fn try_f32(&self, model: &Path) -> Result<PathBuf, String> {
        let out = self.path(&format!("{}.gguf", model.file_name().expect("a name").to_string_lossy()));
        let output = call("quantize", model, &["--type", "f32"].map(OsStr::new), &out).output().expect("tersor starts");
        if output.status.success() { Ok(out) } else { Err(text(&output)) }
    }

    /// `tersor convert MODEL --to CONTAINER`; gives the output's path.
    pub(crate) fn convert(&self, model: &Path, container: &str, name: &str) -> PathBuf {
        let out = self.path(name);
        tersor("convert", model, &[OsStr::new("--to"), OsStr::new(container)], &out);
        out
    }

    /// `tersor eval MODEL BEFORE PATH AFTER --json`, into a file.
    pub(crate) fn eval(&self, model: &Path, before: &[&str], path: &Path, after: &[&str], out: &Path) {
        let mut call = Command::new(env!("CARGO_BIN_EXE_tersor"));
        call.env("TERSOR_DEVICE", "cpu");
        call.arg("eval").arg(model).args(before).arg(path).args(after).args(["--json", "--quiet"]);
        let output = call.output().expect("tersor starts");
        assert!(output.status.success(), "{call:?}\n{}", text(&output));
        std::fs::write(out, output.stdout).expect("the folder can be written");
    }

    /// `tersor distill MODEL` on a text, two steps of it.
    pub(crate) fn distill(&self, model: &Path, text: &Path, options: &[&str], out: &Path) {
        let always = ["--steps", "2", "--batch", "2", "--ctx", "32", "--train"].map(OsStr::new);
        let options: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        tersor("distill", model, &[&always[..], &[text.as_os_str()], &options].concat(), out);
    }

    /// `tersor calibrate MODEL` on the beginning of a text.
    pub(crate) fn calibrate(&self, model: &Path, text: &Path, out: &Path) {
        let args = ["--chunks", "40", "--ctx", "256", "--force"].map(OsStr::new);
        tersor("calibrate", model, &[&args[..], &[OsStr::new("--calibration"), text.as_os_str()]].concat(), out);
    }

    /// `tersor prune MODEL OPTIONS --force`.
    pub(crate) fn prune(&self, model: &Path, options: &[&str], out: &Path) {
        let options: Vec<&OsStr> = options.iter().chain(&["--force"]).map(OsStr::new).collect();
        tersor("prune", model, &options, out);
    }

    /// A GGUF file's values in f32.
    pub(crate) fn decode(&self, file: &Path, name: &str) -> PathBuf {
        let out = self.path(name);
        tersor("convert", file, &["--to", "gguf", "--dtype", "f32"].map(OsStr::new), &out);
        out
    }
}

fn call(command: &str, model: &Path, args: &[&OsStr], out: &Path) -> Command {
    let mut call = Command::new(env!("CARGO_BIN_EXE_tersor"));
    call.env("TERSOR_DEVICE", "cpu");
    call.arg(command).arg(model).args(args).arg("--quiet").arg("--output").arg(out);
    call
}

fn tersor(command: &str, model: &Path, args: &[&OsStr], out: &Path) {
    let mut call = call(command, model, args, out);
    let output = call.output().expect("tersor starts");
    assert!(output.status.success(), "{call:?}\n{}", text(&output));
}

/// Run a script beside this file. False when it had to be skipped; what it printed says why.
pub(crate) fn python<A: AsRef<OsStr>>(script: &str, args: &[A]) -> bool {
    let chosen = std::env::var_os("TERSOR_PYTHON");
    let interpreter = chosen.clone().unwrap_or_else(|| "python3".into());
    let mut call = Command::new(interpreter);
    call.arg(root().join("tests/interop").join(script)).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        call.output()
    };
    match output {
        Err(e) if e.kind() == ErrorKind::NotFound && chosen.is_none() => {
            skip("there is no python3; set TERSOR_PYTHON to an interpreter");
            false
        }
        Err(e) => panic!("{call:?}: {e}"),
        Ok(output) => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            let skipped = output.status.code() == Some(SKIPPED);
            assert!(skipped || output.status.success(), "{script} failed\n{}", text(&output));
            !skipped
        }
    }
}

pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    root().join("fixtures").join(name)
}

/// A path below the folder that an environment variable names, if both are there.
pub(crate) fn given(variable: &str, name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(variable) else {
        skip(&format!("set {variable} to a folder with {name}"));
        return None;
    };
    let path = Path::new(&folder).join(name);
    if !path.exists() {
        skip(&format!("{variable} has no {name}"));
        return None;
    }
    Some(path)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
