//! Which module may use which, and what stays in one place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of src/, lowest first. A module may use those that stand before it; `crate::Error` and `crate::Result` are
/// `error`'s.
const ORDER: &[&str] = &[
    "error",
    "machine",
    "digest",
    "chance",
    "progress",
    "tensor",
    "gguf",
    "arch",
    "source",
    "tokenizer",
    "windows",
    "plan",
    "model",
    "sink",
    "calib",
    "conversion",
    "run",
    "verify",
    "generate",
    "eval",
    "prune",
    "distill",
    "bench",
    "writing",
    "report",
    "options",
    "steps",
    "recipe",
    "cli",
    "main",
];

/// Uses that break the order, as (module, what it uses), with the reason. None is best.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// What only some modules may do: a fragment of code, and where it may stand.
const CONFINED: &[(&str, &[&str])] = &[
    ("println!", &["cli"]),
    ("eprintln!", &["cli"]),
    ("eprint!", &["cli"]),
    ("clap::", &["cli", "options", "recipe"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("ctrlc", &["cli"]),
    ("process::exit", &["cli"]),
    ("rayon::", &["model"]),
    // Only tersor-kernels has any.
    ("unsafe ", &[]),
];

struct Source {
    path: PathBuf,
    module: String,
    /// Lines outside tests, without comments and texts.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("tests") {
                    folders.push(path);
                }
                continue;
            }
            let inside = path.strip_prefix(&root).unwrap();
            let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            if module != "lib" {
                sources.push(Source { code: code(&fs::read_to_string(&path).unwrap()), path, module });
            }
        }
    }
    assert!(sources.len() > 40, "src/ is found");
    sources
}

/// The code up to the file's tests, which stand last.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let without = |line: &str| {
        let line = line.split("//").next().unwrap();
        // Every second part is inside quotes; the few escaped ones in src/ are in tests.
        line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
    };
    before_tests.lines().map(without).collect::<Vec<_>>().join("\n")
}

/// The modules that `code` names as `crate::x` or in `use crate::{x, y::z}`.
fn used(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let top = |c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    (c == ',' || c == '}') && depth <= 0
                };
                let end = list.find(';').unwrap_or(list.len());
                used.extend(list[..end].split(top).map(|item| word(item.trim())).filter(|w| !w.is_empty()));
            }
            None => {
                used.insert(word(rest));
            }
        }
    }
    // Upper case are items of lib.rs: the error's, under short names, and constants of the whole library.
    let module = |name: String| match name.as_str() {
        "Error" | "Result" => Some("error".to_owned()),
        _ => name.starts_with(|c: char| c.is_lowercase()).then_some(name),
    };
    used.into_iter().filter_map(module).collect()
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let rank = |name: &str| ORDER.iter().position(|m| *m == name);
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    for source in sources() {
        let own = rank(&source.module).unwrap_or_else(|| panic!("`{}` has no place in ORDER", source.module));
        for name in used(&source.code) {
            let theirs = rank(&name).unwrap_or_else(|| panic!("{}: `crate::{name}`", source.path.display()));
            let pair = EXCEPTIONS.iter().find(|(from, to)| *from == source.module && *to == name);
            if let Some(pair) = pair {
                excused.insert(*pair);
            } else if theirs > own {
                wrong.push(format!("{} uses {name}, which stands above {}", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(EXCEPTIONS.iter().all(|e| excused.contains(e)), "an exception that is not needed: {excused:?}");
}

#[test]
fn printing_the_command_line_and_unsafe_code_stay_in_their_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (fragment, places) in CONFINED {
            if !places.contains(&source.module.as_str()) && source.code.contains(fragment) {
                wrong.push(format!("{}: `{fragment}` belongs to {places:?}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_of_use_lines_reads_them() {
    let names = |code| used(code).into_iter().collect::<Vec<_>>();
    assert_eq!(names("use crate::error::{Error, Result};"), ["error"]);
    assert_eq!(names("use crate::{plan::Plan, run::{self, Limits}, Error};"), ["error", "plan", "run"]);
    assert_eq!(names("let x = crate::sink::NAME; my_crate::y;"), ["sink"]);
    assert_eq!(code("a // crate::x\n\"crate::y\"\n#[cfg(test)]\nmod tests {\nb"), "a \n\"\"");
}
