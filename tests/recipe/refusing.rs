//! What fails, and what is left alone.

use crate::support::{at, json, names};
use crate::{PLAIN, WHOLE, edit, made, outputs, run, verify, workshop};
use std::fs;

#[test]
fn a_limit_that_fails_keeps_outputs_away() {
    let folder = workshop(&format!("{PLAIN}[limits]\nmax_bytes = \"3MB\"\n"));
    let failed = run(&folder, &[]).exits(4);
    assert!(failed.out.contains("FAILS: max_bytes of a.gguf: 36"), "{failed:?}");
    assert!(failed.out.contains("holds: max_bytes of b.gguf: 20"), "{failed:?}");
    assert!(!folder.path().join("a.gguf").exists() && !folder.path().join("tersor.lock").exists());
    // Nothing of it was for nothing.
    edit(&folder, "3MB", "4MB");
    assert_eq!(made(&json(&run(&folder, &["--json"]).exits(0))), [""; 0]);
}

#[test]
fn files_of_others_stay() {
    let folder = workshop(PLAIN);
    fs::write(at(&folder, "a.gguf"), "mine").unwrap();
    run(&folder, &[]).fails(1, "a.gguf");
    assert_eq!(fs::read(at(&folder, "a.gguf")).unwrap(), b"mine");
    run(&folder, &["--force"]).exits(0);
    // Its own it replaces, until someone changed them.
    edit(&folder, "q8_0", "q6_k");
    run(&folder, &[]).exits(0);
    fs::write(at(&folder, "a.gguf"), "mine again").unwrap();
    run(&folder, &[]).fails(1, "a.gguf");
}

#[test]
fn a_locked_run_takes_no_change() {
    let folder = workshop(PLAIN);
    run(&folder, &["--locked"]).fails(1, "there is no lock file");
    run(&folder, &[]).exits(0);
    run(&folder, &["--locked", "--no-cache"]).exits(0);
    edit(&folder, "q4_0", "q4_1");
    run(&folder, &["--locked"]).fails(1, "b.gguf has other options: +type=q4_1 -type=q4_0");
    edit(&folder, "q4_1", "q4_0");
    // Read again, whatever its time and size say.
    let card = at(&folder, "tiny-llama/README.md");
    let time = fs::metadata(&card).unwrap().modified().unwrap();
    let text = fs::read_to_string(&card).unwrap();
    fs::write(&card, text.replacen('a', "b", 1)).unwrap();
    fs::File::options().write(true).open(&card).unwrap().set_modified(time).unwrap();
    run(&folder, &["--locked"]).fails(1, "`tiny-llama/README.md` changed");
    fs::remove_file(at(&folder, "tersor.lock")).unwrap();
    fs::write(at(&folder, "tersor.lock"), "lock = \"old\"\n").unwrap();
    run(&folder, &[]).fails(1, "a lock file of this version");
}

/// What a model was run for is not made again by a locked run: it comes from the cache, from a folder of artifacts, or not
/// at all.
#[test]
fn a_locked_run_starts_from_what_a_model_was_run_for() {
    let recipe = WHOLE.replace("rules =", "calibration = \"train.txt\"\nctx = 64\nchunks = 4\nrules =");
    let folder = workshop(&recipe);
    run(&folder, &["--artifacts", "kept"]).exits(0);
    let whole = outputs(&folder);
    let kept = names(&folder.path().join("kept"));
    let kinds: Vec<&str> = kept.iter().map(|name| name.split('-').next().unwrap()).collect();
    assert_eq!(kinds, ["calibrate", "distill", "prune"]);
    let away = || {
        fs::remove_dir_all(at(&folder, "build")).unwrap();
        let _ = fs::remove_dir_all(at(&folder, "cache"));
    };
    away();
    let failed = run(&folder, &["--locked"]).fails(1, "the result of pass 1");
    for what in ["pass 2", "statistics 1"] {
        assert!(failed.err.contains(&format!("the result of {what} (")), "{failed:?}");
    }
    fs::create_dir(at(&folder, "build")).unwrap();
    let report = json(&run(&folder, &["--locked", "--artifacts", "kept", "--json"]).exits(0));
    assert_eq!(report["results"].as_array().unwrap().len(), 5);
    assert_eq!(made(&report), ["build/small-Q8_0.gguf", "build/small-Q4_K_M.gguf"]);
    assert!(outputs(&folder) == whole);
    // A file is made again from them, too.
    fs::remove_dir_all(at(&folder, "cache")).unwrap();
    let again = |more: &[&str]| verify(&folder, &[&["build/small-Q4_K_M.gguf", "--rederive"], more].concat());
    again(&[]).fails(1, "the result of statistics 1");
    assert!(again(&[".", "--artifacts", "kept"]).exits(0).out.ends_with("the same bytes\n"));
    // One of them was changed.
    away();
    fs::create_dir(at(&folder, "build")).unwrap();
    let student = at(&folder, &format!("kept/{}/config.json", kept[1]));
    fs::write(&student, fs::read_to_string(&student).unwrap() + "\n").unwrap();
    run(&folder, &["--locked", "--artifacts", "kept"]).fails(1, "the result of pass 2");
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    let source = "source = \"tiny-llama\"\n";
    let output = "[[output]]\nfile = \"a.gguf\"\ntype = \"q8_0\"\n";
    for (recipe, place, message) in [
        ("sorce = \"x\"\n", "line 1, column 1", "unknown key `sorce`"),
        ("source = 3\n", "line 1, column 10", "`source` takes a text"),
        (output, "line 1, column 1", "no `source`"),
        (source, "line 1, column 1", "no output"),
        (&format!("{source}{output}tipe = \"q8_0\"\n"), "line 5, column 1", "unknown key `tipe`"),
        (&format!("{source}{output}rules = [\"x\"]\n"), "line 5, column 9", "write PATTERN=FORMAT"),
        (&format!("{source}{output}pure = \"yes\"\n"), "line 5, column 8", "`pure` takes true or false"),
        (&format!("{source}{output}effort = \"slow\"\n"), "line 5, column 10", "invalid value 'slow'"),
        (&format!("{source}{output}threads = 3\n"), "line 5, column 1", "unknown key `threads`"),
        (&format!("{source}[output]\nfile = \"a\"\n"), "line 2, column 1", "`output` is no list of tables"),
        (&format!("{source}{output}{output}"), "line 5, column 1", "is or holds an output that stands before"),
        (&format!("{source}{output}[[pass]]\nkind = \"prun\"\n"), "line 6, column 8", "unknown kind of pass `prun`"),
        (&format!("{source}{output}[[pass]]\nkind = \"prune\"\n"), "line 5, column 1", "required arguments"),
        (
            &format!("{source}{output}[[pass]]\nkind = \"distill\"\ntrain = \"t\"\nsteps = 1\n"),
            "line 5, column 1",
            "its own teacher",
        ),
        (
            &format!(
                "{source}{output}[[pass]]\nkind = \"prune\"\nmethod = \"magnitude\"\nsparsity = 0.5\n\
                 [[pass]]\nkind = \"distill\"\ntrain = \"t\"\nsteps = 1\n"
            ),
            "line 9, column 1",
            "fill the zeros",
        ),
        (&format!("{source}{output}split_max_size = \"1M\"\n"), "line 2, column 1", "is one file, so it is not split"),
        (&format!("{source}{output}[limits]\nmax_kl = 1\n"), "line 1, column 1", "`max_kl` without a text"),
        (&format!("{source}{output}[limits]\nmax_bytes = \"1XB\"\n"), "line 6, column 13", "takes a size"),
        ("source = \n", "line 1, column 10", ""),
        ("[[output]\n", "line 1, column", ""),
    ] {
        let folder = workshop(recipe);
        let ran = run(&folder, &[]).fails(2, place);
        assert!(ran.err.contains(message), "{recipe}: {ran:?}");
    }
    // The nearest name, or all of them.
    let folder = workshop(&format!("{source}{output}tipe = \"q8_0\"\n"));
    assert!(run(&folder, &[]).err.contains("hint: did you mean `type`?"));
    let folder = workshop("");
    fs::remove_file(at(&folder, "tersor.toml")).unwrap();
    run(&folder, &[]).fails(1, "tersor.toml");
    let folder = workshop(&PLAIN.replace("tiny-llama", "nowhere"));
    run(&folder, &[]).fails(1, "nowhere");
}
