//! What is made, kept, found again and gone on with.

use crate::support::{Noise, at, command, finish, json, limited, names};
use crate::{PLAIN, WHOLE, edit, made, outputs, run, run_command, workshop};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn a_run_that_was_killed_ends_in_the_files_of_one_that_was_not() {
    let whole = workshop(WHOLE);
    let report = json(&run(&whole, &["--json", "--threads", "2"]).exits(0));
    assert_eq!(made(&report), ["pass 1: prune", "pass 2: distill", "build/small-Q8_0.gguf", "build/small-Q4_K_M.gguf"]);
    assert!(report["measurements"][0]["kl"].as_f64().unwrap() < 2.0);
    let again = run(&whole, &[]).exits(0);
    assert_eq!((again.out.as_str(), again.err.as_str()), ("nothing to do\n", ""));
    run(&whole, &["--check"]).exits(0);
    run(&whole, &["--locked"]).exits(0);

    let killed = workshop(WHOLE);
    let mut noise = Noise(11);
    let mut kills = 0;
    loop {
        let mut child = run_command(&killed, &["--threads", "1"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200 + noise.below(600) as u64));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        let status = ended.unwrap_or_else(|| child.wait().unwrap());
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(9), "{status}");
        kills += 1;
        // A kill may always come before the next checkpoint: in the end it is left alone.
        if kills == 12 {
            run(&killed, &["--threads", "1"]).exits(0);
            break;
        }
    }
    assert!(kills > 0);
    assert!(outputs(&killed) == outputs(&whole));
}

/// A hundred kills at random moments of runs that only write: what is left never stands in the way.
#[test]
fn kills_leave_nothing_in_the_way() {
    let whole = workshop(&PLAIN.replace("source", "out_dir = \"build\"\nsource"));
    run(&whole, &[]).exits(0);
    let killed = workshop(&PLAIN.replace("source", "out_dir = \"build\"\nsource"));
    let mut noise = Noise(5);
    for n in 0..100 {
        // Now and then from the beginning, so that kills meet every moment of a run.
        if n % 4 == 0 {
            let _ = fs::remove_dir_all(at(&killed, "build"));
            let _ = fs::remove_dir_all(at(&killed, "cache"));
        }
        let mut child = run_command(&killed, &["--force"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(noise.below(300) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // What has its name is whole.
        for name in ["a.gguf", "b.gguf"] {
            let read = |folder: &TempDir| fs::read(folder.path().join("build").join(name));
            assert!(read(&killed).is_err() || read(&killed).unwrap() == read(&whole).unwrap(), "{name} after {n}");
        }
    }
    run(&killed, &["--force"]).exits(0);
    assert!(outputs(&killed) == outputs(&whole));
}

#[test]
fn a_full_disk_and_a_source_that_goes_are_told_and_overcome() {
    let folder = workshop(PLAIN);
    let mut full = limited(folder.path(), "ulimit -f 2000; trap '' XFSZ", &["run", "-q"]);
    full.env("XDG_CACHE_HOME", folder.path().join("cache"));
    finish(full).fails(1, "cannot write");
    assert!(!folder.path().join("a.gguf").exists() && !folder.path().join("tersor.lock").exists());
    let weights = at(&folder, "tiny-llama/model.safetensors");
    fs::rename(&weights, at(&folder, "away")).unwrap();
    run(&folder, &[]).fails(1, "tiny-llama");
    fs::rename(at(&folder, "away"), &weights).unwrap();
    run(&folder, &[]).exits(0);
    run(&folder, &["--check"]).exits(0);
    fs::remove_file(at(&folder, "heldout.txt")).unwrap();
    edit(&folder, "[[output]]\nfile = \"a.gguf\"", "[eval]\ntext = \"heldout.txt\"\n[[output]]\nfile = \"a.gguf\"");
    run(&folder, &[]).fails(1, "heldout.txt");
}

#[test]
fn only_what_changed_is_made_again() {
    let folder = workshop(PLAIN);
    run(&folder, &[]).exits(0);
    let first = fs::read(at(&folder, "a.gguf")).unwrap();
    edit(&folder, "q4_0", "q4_1");
    assert_eq!(run(&folder, &["--check"]).exits(3).out, "to do: b.gguf has other options: +type=q4_1 -type=q4_0\n");
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), ["b.gguf"]);
    // Back again: all of it is in the cache.
    edit(&folder, "q4_1", "q4_0");
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), [""; 0]);
    // An output that is gone, or was changed, comes back.
    fs::remove_file(at(&folder, "a.gguf")).unwrap();
    run(&folder, &["--check"]).exits(3);
    run(&folder, &[]).exits(0);
    assert!(fs::read(at(&folder, "a.gguf")).unwrap() == first);
    // Another weight, another everything.
    let weights = at(&folder, "tiny-llama/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_eq!(run(&folder, &["--check"]).exits(3).out, "to do: `tiny-llama/model.safetensors` changed\n");
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), ["a.gguf", "b.gguf"]);
}

/// One rule for one tensor: the others are copied, and the file is that of a run that knew none of them.
#[test]
fn tensors_are_copied_that_were_encoded_before() {
    let folder = workshop(PLAIN);
    run(&folder, &[]).exits(0);
    edit(&folder, "type = \"q4_0\"", "type = \"q4_0\"\nrules = [\"blk.1.attn_v.weight=q8_0\"]");
    let report = json(&run(&folder, &["--json"]).exits(0));
    let tensors = 4 * 9 + 2;
    assert_eq!(report["results"][1]["what"], "b.gguf");
    // The one of the rule is in the other output.
    assert_eq!(report["results"][1]["copied"], tensors);
    let copied = fs::read(at(&folder, "b.gguf")).unwrap();
    run(&folder, &["--no-cache", "--locked"]).exits(0);
    fs::remove_file(at(&folder, "b.gguf")).unwrap();
    run(&folder, &["--no-cache"]).exits(0);
    assert!(fs::read(at(&folder, "b.gguf")).unwrap() == copied);
}

#[test]
fn results_that_were_damaged_are_made_again() {
    let folder = workshop(PLAIN);
    run(&folder, &[]).exits(0);
    let sound = fs::read(at(&folder, "a.gguf")).unwrap();
    for entry in names(&folder.path().join("cache/tersor/results")) {
        let path = folder.path().join("cache/tersor/results").join(entry).join("a.gguf");
        if path.exists() {
            let mut bytes = sound.clone();
            bytes[5000] ^= 1;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    fs::remove_file(at(&folder, "a.gguf")).unwrap();
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), ["a.gguf"]);
    assert!(fs::read(at(&folder, "a.gguf")).unwrap() == sound);
}

#[test]
fn neither_level_nor_threads_change_a_bit() {
    let files = |level: &str, threads: &str| {
        let folder = workshop(&PLAIN.replace("source", "out_dir = \"build\"\nsource"));
        finish({
            let mut command = run_command(&folder, &["--threads", threads]);
            command.env("TERSOR_LEVEL", level);
            command
        })
        .exits(0);
        outputs(&folder)
    };
    assert!(files("scalar", "1") == files("", "3"));
}

#[test]
fn runs_at_once_share_what_one_of_them_makes() {
    let folder = workshop(PLAIN);
    fs::write(at(&folder, "other.toml"), PLAIN.replace("a.gguf", "c.gguf").replace("b.gguf", "d.gguf")).unwrap();
    let mut children: Vec<_> = ["tersor.toml", "other.toml", "tersor.toml"]
        .iter()
        .map(|recipe| run_command(&folder, &[recipe]).stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    let ended: Vec<bool> = children.iter_mut().map(|child| child.wait().unwrap().success()).collect();
    assert_eq!(ended, [true; 3]);
    let read = |name: &str| fs::read(at(&folder, name)).unwrap();
    assert!(read("a.gguf") == read("c.gguf") && read("b.gguf") == read("d.gguf"));
}

#[test]
fn the_cache_is_told_of_and_bounded() {
    let folder = workshop(PLAIN);
    run(&folder, &[]).exits(0);
    let cache = |args: &[&str]| {
        let mut command = command(folder.path(), &[&["cache"], args].concat());
        command.env("XDG_CACHE_HOME", folder.path().join("cache"));
        finish(command).exits(0).out
    };
    let told = cache(&["info"]);
    assert!(told.contains("cache/tersor: 2 results, 5."), "{told}");
    assert!(cache(&["prune", "--max", "4M"]).starts_with("taken out: 1 result, "));
    assert!(cache(&["info"]).contains(": 1 result, "));
    run(&folder, &["--check"]).exits(0);
    // In another place.
    fs::remove_file(at(&folder, "a.gguf")).unwrap();
    run(&folder, &["--cache", "there"]).exits(0);
    assert_eq!(names(&folder.path().join("there/results")).len(), 4, "two results and their locks");
}

#[test]
fn outputs_that_are_kept_need_no_pass() {
    let folder = workshop(WHOLE);
    run(&folder, &[]).exits(0);
    let first = outputs(&folder);
    fs::remove_dir_all(at(&folder, "build")).unwrap();
    let results = folder.path().join("cache/tersor/results");
    let passes: Vec<String> =
        names(&results).into_iter().filter(|key| results.join(key).join("tiny-llama").exists()).collect();
    assert_eq!(passes.len(), 2);
    passes.iter().for_each(|key| fs::remove_dir_all(results.join(key)).unwrap());
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), [""; 0]);
    assert!(outputs(&folder) == first);
    run(&folder, &["--check"]).exits(0);
}

#[test]
fn folders_are_outputs_too() {
    let folder = workshop("source = \"tiny-llama\"\n[[output]]\nfile = \"out\"\ndtype = \"f16\"\n");
    run(&folder, &[]).exits(0);
    let bytes = || fs::metadata(at(&folder, "out/model.safetensors")).unwrap().len();
    let half = bytes();
    edit(&folder, "f16", "f32");
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), ["out"]);
    assert!(bytes() > half * 19 / 10 && !folder.path().join("out.partial").exists());
    // Someone put a file in.
    fs::write(at(&folder, "out/mine.txt"), "mine").unwrap();
    edit(&folder, "f32", "bf16");
    run(&folder, &[]).fails(1, "out");
    assert!(folder.path().join("out/mine.txt").exists());
}
