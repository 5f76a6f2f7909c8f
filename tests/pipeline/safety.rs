//! What stands around an output is not touched, and what only looks like an input is not read forever.

use crate::support::{at, copy_folder, empty, finish, fixture, limited, names, tersor_in};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use tempfile::TempDir;

/// A folder with `hf`, a model, and `m.gguf` made of it.
fn models() -> TempDir {
    let folder = empty();
    copy_folder(&fixture("tiny-spm"), &folder.path().join("hf"));
    tersor_in(&folder, &["quantize", "hf", "-t", "q8_0", "-qo", "m.gguf"]).exits(0);
    folder
}

#[test]
fn a_model_folder_is_replaced_only_when_it_holds_nothing_else() {
    let folder = models();
    let args = ["convert", "m.gguf", "--force", "-qo", "out"];
    tersor_in(&folder, &args).exits(0);
    tersor_in(&folder, &args).exits(0);
    fs::write(folder.path().join("out/notes.odt"), "mine").unwrap();
    tersor_in(&folder, &args).fails(2, "`out` holds `notes.odt` too, so it is not replaced");
    assert_eq!(fs::read(folder.path().join("out/notes.odt")).unwrap(), b"mine");
    assert_eq!(names(folder.path()), ["hf", "m.gguf", "out"]);
}

#[test]
fn a_folder_that_holds_the_source_is_not_replaced() {
    let folder = models();
    fs::create_dir(folder.path().join("repo")).unwrap();
    fs::copy(folder.path().join("hf/config.json"), folder.path().join("repo/config.json")).unwrap();
    fs::rename(folder.path().join("hf"), folder.path().join("repo/sub")).unwrap();
    let args = ["convert", "repo/sub", "--to", "safetensors", "--force", "-qo", "repo"];
    tersor_in(&folder, &args).fails(2, "is or holds the model that is read");
    assert_eq!(names(&folder.path().join("repo")), ["config.json", "sub"]);
}

#[test]
fn a_source_that_is_named_as_the_partial_file_survives() {
    let folder = models();
    fs::rename(at(&folder, "m.gguf"), at(&folder, "x.gguf.partial")).unwrap();
    fs::rename(at(&folder, "hf"), at(&folder, "y.partial")).unwrap();
    let quantize = ["quantize", "x.gguf.partial", "-t", "q4_0", "-qo", "x.gguf"];
    tersor_in(&folder, &quantize).fails(2, "is or holds the model that is read");
    let convert = ["convert", "y.partial", "--to", "safetensors", "-qo", "y"];
    tersor_in(&folder, &convert).fails(2, "is or holds the model that is read");
    tersor_in(&folder, &["verify", "x.gguf.partial", "--base", "y.partial"]).exits(0);
}

#[test]
fn files_beside_the_weights_are_inputs_too() {
    let folder = models();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let out = format!("hf/{name}");
        let args = ["quantize", "hf", "--force", "-qo", &out];
        tersor_in(&folder, &args).fails(2, "is or holds the model that is read");
    }
    tersor_in(&folder, &["quantize", "hf", "-qo", "hf/out.gguf"]).exits(0);
    tersor_in(&folder, &["quantize", "hf", "--force", "-qo", "hf/out.gguf"]).exits(0);
}

#[test]
fn a_link_in_the_place_of_the_partial_file_is_not_followed() {
    let folder = models();
    fs::write(at(&folder, "precious"), "mine").unwrap();
    symlink(at(&folder, "precious"), at(&folder, "out.gguf.partial")).unwrap();
    tersor_in(&folder, &["quantize", "hf", "-qo", "out.gguf"]).fails(1, "cannot create `out.gguf.partial`");
    assert_eq!(fs::read(at(&folder, "precious")).unwrap(), b"mine");
}

#[test]
fn a_pipe_among_the_files_is_not_waited_for() {
    let folder = models();
    let pipe = |name: &str| {
        let path = folder.path().join("hf").join(name);
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    };
    pipe("README.md");
    tersor_in(&folder, &["quantize", "hf", "-qo", "out.gguf"]).exits(0);
    pipe("config.json");
    let wanted = "kind of file: found a folder, pipe or device, wanted a regular file";
    tersor_in(&folder, &["inspect", "hf"]).fails(1, wanted);
}

#[test]
fn a_length_within_a_file_larger_than_memory_is_not_believed() {
    let folder = empty();
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend([0u64, 1, 1 << 41].iter().flat_map(|n| n.to_le_bytes()));
    fs::write(at(&folder, "sparse.gguf"), head).unwrap();
    let file = fs::OpenOptions::new().write(true).open(at(&folder, "sparse.gguf")).unwrap();
    file.set_len(1 << 42).unwrap();
    let ran = finish(limited(folder.path(), "ulimit -v 1048576", &["inspect", "sparse.gguf"]));
    ran.fails(1, "key 0 at byte 32: found 2199023255552 bytes, wanted at most 67108864");
}

#[test]
fn options_without_effect_are_errors() {
    let folder = models();
    for (args, message) in [
        (&["quantize", "m.gguf", "--pre", "qwen2"][..], "`--pre` has no effect here"),
        (&["quantize", "m.gguf", "--chat-template", "hf/config.json"], "`--chat-template` has no effect here"),
        (&["convert", "m.gguf", "--override-kv", "a=u8:1"], "`--override-kv` has no effect here"),
    ] {
        tersor_in(&folder, args).fails(2, message);
    }
    tersor_in(&folder, &["quantize", "hf", "--drop", "nothing*"]).fails(1, "rule `nothing*` matches no tensor");
}

#[test]
fn more_threads_than_there_is_work_are_no_matter() {
    let folder = models();
    tersor_in(&folder, &["quantize", "hf", "-t", "q8_0", "--threads", "60000", "-qo", "many.gguf"]).exits(0);
    assert!(fs::read(at(&folder, "many.gguf")).unwrap() == fs::read(at(&folder, "m.gguf")).unwrap());
}
