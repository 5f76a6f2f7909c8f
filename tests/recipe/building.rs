//! The examples for build systems, run.

use crate::support::{Ran, at, copy_folder};
use crate::workshop;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// An example's folder, with the model that its recipe names.
fn example(name: &str) -> TempDir {
    let folder = workshop("");
    copy_folder(&format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR")), folder.path());
    folder
}

/// A program in `folder` that finds `tersor`; `None` where it is not installed.
fn with_tersor(folder: &TempDir, program: &str, args: &[&str]) -> Option<Ran> {
    let tersor = Path::new(env!("CARGO_BIN_EXE_tersor"));
    let path = format!("{}:{}", tersor.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    command.args(args).current_dir(folder.path()).env("PATH", path).env("XDG_CACHE_HOME", folder.path().join("cache"));
    match command.output() {
        Err(_) => {
            println!("skipped: {program} is not installed");
            None
        }
        Ok(ran) => Some(Ran {
            code: ran.status.code(),
            out: String::from_utf8_lossy(&ran.stdout).into_owned(),
            err: String::from_utf8_lossy(&ran.stderr).into_owned(),
        }),
    }
}

#[test]
fn make_builds_when_something_changed() {
    let folder = example("make");
    let Some(first) = with_tersor(&folder, "make", &[]) else { return };
    first.exits(0);
    let make = || with_tersor(&folder, "make", &[]).unwrap().exits(0).out;
    assert!(make().contains("up to date"));
    // Newer, and yet the same: the recipe is asked once.
    let card = at(&folder, "tiny-llama/README.md");
    fs::write(&card, fs::read(&card).unwrap()).unwrap();
    assert!(make().contains("nothing to do"));
    assert!(make().contains("up to date"));
    fs::write(&card, "another card").unwrap();
    assert!(make().contains("README.md` changed"));
    assert!(make().contains("up to date"));
}

#[test]
fn cmake_builds_when_something_changed() {
    let folder = example("cmake");
    let Some(configured) = with_tersor(&folder, "cmake", &["-S", ".", "-B", "out"]) else { return };
    configured.exits(0);
    let build = || with_tersor(&folder, "cmake", &["--build", "out"]).unwrap().exits(0).out;
    assert!(build().contains("model-Q4_K_M.gguf"));
    assert!(folder.path().join("build/model-Q4_K_M.gguf").exists());
    build();
    assert!(!build().contains("tersor.toml"), "nothing is run again");
    fs::write(at(&folder, "tiny-llama/README.md"), "another card").unwrap();
    assert!(build().contains("README.md` changed"));
}

#[test]
fn the_commands_of_the_workflow_run() {
    let folder = example("ci");
    // As committed: the lock file is there.
    with_tersor(&folder, "tersor", &["run", "-q", "--cache", ".cache"]).unwrap().exits(0);
    fs::remove_dir_all(at(&folder, "build")).unwrap();
    let workflow = fs::read_to_string(at(&folder, "workflow.yml")).unwrap();
    let commands: Vec<&str> = workflow.lines().filter_map(|line| line.trim().strip_prefix("- run: ")).collect();
    assert_eq!(commands.len(), 3);
    for command in commands.iter().filter(|command| !command.starts_with("cargo install")) {
        with_tersor(&folder, "sh", &["-c", command]).unwrap().exits(0);
    }
    assert!(folder.path().join("build/model-Q4_K_M.gguf").exists() && folder.path().join("report.html").exists());
}

#[test]
fn a_build_script_gets_the_files_and_what_they_are_made_from() {
    use tersor::recipe::{Cache, build_in};
    let folder = example("make");
    let (recipe, out) = (folder.path().join("tersor.toml"), folder.path().join("out"));
    let cache = Cache::open(Some(&folder.path().join("cache"))).unwrap();
    let made = build_in(&recipe, &out, &cache).unwrap();
    assert_eq!(made.outputs, [out.join("model-Q4_K_M.gguf")]);
    assert!(made.inputs.contains(&folder.path().join("tiny-llama/model.safetensors")), "{:?}", made.inputs);
    assert!(!folder.path().join("build").exists());
    // The lock file is the one of a run in the recipe's own folder.
    let lock = fs::read_to_string(folder.path().join("tersor.lock")).unwrap();
    with_tersor(&folder, "tersor", &["run", "-q", "--locked"]).unwrap().exits(0);
    assert_eq!(fs::read_to_string(folder.path().join("tersor.lock")).unwrap(), lock);
    fs::write(&recipe, fs::read_to_string(&recipe).unwrap() + "[limits]\nmax_bytes = 1000\n").unwrap();
    let failed = build_in(&recipe, &out, &cache).unwrap_err().to_string();
    assert!(failed.starts_with("FAILS: max_bytes of "), "{failed}");
}

/// A whole crate is compiled for it, which takes minutes.
#[test]
fn a_crate_has_a_model_in_it() {
    if std::env::var_os("TERSOR_EXAMPLES").is_none() {
        println!("skipped: examples/build-script; set TERSOR_EXAMPLES=1 to compile it");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "-q"]).current_dir(root.join("examples/build-script"));
    let ran = command.env("CARGO_TARGET_DIR", target.join("examples")).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(out.starts_with("The king is ") && out.len() > 40, "{out}{err}");
}
