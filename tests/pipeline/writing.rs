//! An output appears whole or not at all, replaces nothing unasked, and costs bounded memory.

use crate::support::gguf::{Gguf, write_sparse};
use crate::support::{at, command, empty, finish, finish_while, fixture, limited, names, tersor_in};
use std::cell::Cell;
use std::fs::{self, File};
use std::process::Command;

#[test]
fn an_existing_output_is_replaced_only_on_request() {
    let folder = empty();
    let model = fixture("tiny-spm");
    for (verb, out) in [("quantize", "out.gguf"), ("convert", "out")] {
        let to = if verb == "convert" { &["--to", "safetensors"][..] } else { &[] };
        let args = [&[verb, &model, "-qo", out], to].concat();
        tersor_in(&folder, &args).exits(0);
        let ran = tersor_in(&folder, &args).fails(1, &format!("`{out}` exists"));
        assert!(ran.err.contains("hint: pass `--force` to replace it"), "{}", ran.err);
        tersor_in(&folder, &[&args[..], &["--force"]].concat()).exits(0);
    }
    assert_eq!(names(folder.path()), ["out", "out.gguf"]);
}

#[test]
fn a_folder_that_is_no_model_is_never_replaced() {
    let folder = empty();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(folder.path().join("photos/cat.jpg"), "cat").unwrap();
    let model = fixture("tiny-spm");
    let args = ["convert", &model, "--to", "safetensors", "--force", "-qo", "photos"];
    tersor_in(&folder, &args).fails(2, "`photos` is no model folder, so it is not replaced");
    tersor_in(&folder, &["quantize", &model, "--force", "-qo", "photos"])
        .fails(2, "`photos` is a folder, the output is a");
    assert_eq!(fs::read(folder.path().join("photos/cat.jpg")).unwrap(), b"cat");
    assert_eq!(names(folder.path()), ["photos"]);
}

#[test]
fn the_source_is_never_the_output() {
    let folder = empty();
    tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-t", "q8_0", "-qo", "m.gguf"]).exits(0);
    tersor_in(&folder, &["convert", "m.gguf", "-qo", "hf"]).exits(0);
    fs::hard_link(at(&folder, "m.gguf"), at(&folder, "other-name.gguf")).unwrap();
    let before = fs::read(at(&folder, "m.gguf")).unwrap();
    for (model, out) in [("m.gguf", "m.gguf"), ("m.gguf", "./hf/../m.gguf"), ("m.gguf", "other-name.gguf")] {
        let args = ["quantize", model, "-t", "q4_0", "--force", "-qo", out];
        tersor_in(&folder, &args).fails(2, "is or holds the model that is read");
    }
    let args = ["convert", "hf", "--to", "safetensors", "--force", "-qo", "hf"];
    tersor_in(&folder, &args).fails(2, "is or holds the model that is read");
    assert!(fs::read(at(&folder, "m.gguf")).unwrap() == before);
    assert_eq!(names(folder.path()), ["hf", "m.gguf", "other-name.gguf"]);
}

#[test]
fn what_a_killed_run_left_is_taken_over() {
    let folder = empty();
    fs::write(at(&folder, "out.gguf.partial"), vec![7; 9_000_000]).unwrap();
    fs::create_dir(folder.path().join("out.partial")).unwrap();
    fs::write(folder.path().join("out.partial/model.safetensors"), "half of it").unwrap();
    let model = fixture("tiny-spm");
    tersor_in(&folder, &["quantize", &model, "-qo", "out.gguf"]).exits(0);
    tersor_in(&folder, &["convert", &model, "--to", "safetensors", "-qo", "out"]).exits(0);
    assert_eq!(names(folder.path()), ["out", "out.gguf"]);
    tersor_in(&folder, &["verify", "out.gguf", "--base", &model]).exits(0);
    tersor_in(&folder, &["verify", "out", "--base", &model]).exits(0);
}

#[test]
fn a_killed_run_of_more_shards_leaves_no_strange_file_in_the_next_folder() {
    let folder = empty();
    fs::create_dir(folder.path().join("out.partial")).unwrap();
    fs::write(folder.path().join("out.partial/model-00009-of-00009.safetensors"), "of another run").unwrap();
    tersor_in(&folder, &["convert", &fixture("tiny-spm"), "--to", "safetensors", "-qo", "out"]).exits(0);
    assert!(!folder.path().join("out/model-00009-of-00009.safetensors").exists());
}

#[test]
fn a_second_run_on_the_same_output_is_refused() {
    let folder = empty();
    let held = at(&folder, "out.gguf.partial");
    fs::write(&held, "the first run's").unwrap();
    let lock = File::open(&held).unwrap();
    lock.lock().unwrap();
    let ran = tersor_in(&folder, &["quantize", &fixture("tiny-spm"), "-qo", "out.gguf"]);
    ran.fails(1, "`out.gguf.partial` is being written by another run");
    assert_eq!(fs::read_to_string(&held).unwrap(), "the first run's");
    assert_eq!(names(folder.path()), ["out.gguf.partial"]);
}

/// 512 MB of zeros, so that the run is still busy when the signal comes.
#[test]
fn a_signal_leaves_nothing() {
    for signal in ["-INT", "-TERM"] {
        let folder = empty();
        write_sparse(&folder.path().join("big.gguf"), 1 << 15, 1 << 12);
        let partial = folder.path().join("out.gguf.partial");
        let sent = Cell::new(false);
        let args = ["quantize", "big.gguf", "-t", "q8_0", "-o", "out.gguf", "--threads", "1"];
        let ran = finish_while(command(folder.path(), &args), |child| {
            if !sent.get() && partial.exists() {
                sent.set(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
            }
        });
        assert!(sent.get(), "{ran:#?}");
        ran.fails(130, "interrupted; nothing was written");
        assert_eq!(names(folder.path()), ["big.gguf"], "{signal}");
    }
}

/// The limit stands for a full disk: both fail a write in the middle. The signal that comes with it is ignored, as a
/// full disk sends none.
#[test]
fn a_failing_write_leaves_nothing() {
    let folder = empty();
    let model = fixture("tiny-llama");
    for (args, out) in [(&["quantize"][..], "out.gguf"), (&["convert", "--to", "safetensors"], "out")] {
        let args = [args, &[&model[..], "-qo", out]].concat();
        let ran = finish(limited(folder.path(), "trap '' XFSZ; ulimit -f 100", &args));
        ran.fails(1, "File too large");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

/// One tensor of a gigabyte; a reader that takes tensors whole would need more than that.
#[test]
fn memory_does_not_grow_with_the_model() {
    const BOUND: u64 = 300 << 20;
    let folder = empty();
    write_sparse(&folder.path().join("big.gguf"), 1 << 16, 1 << 12);
    let seen = Cell::new(0);
    let args = ["quantize", "big.gguf", "-t", "q4_0", "--threads", "2", "--json", "-qo", "out.gguf"];
    let ran = finish_while(command(folder.path(), &args), |child| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        seen.set(seen.get().max(peak.unwrap_or(0) << 10));
    });
    let ran = ran.exits(0);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["totals"]["bytes_before"], 1u64 << 30);
    for peak in [seen.get(), report["peak_memory"].as_u64().unwrap_or(0)] {
        assert!(peak < BOUND, "{} MiB", peak >> 20);
    }
    // Zeros stay zeros, whatever the sign of their scale.
    let out = Gguf::read(at(&folder, "out.gguf"));
    assert!(out.tensors[0].bytes.chunks(18).all(|block| block[0] == 0 && block[1] & 0x7f == 0));
}
