//! Recipes as whole commands: what is made, kept, found again, and refused.

#![allow(clippy::print_stdout)]

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;
use support::{Noise, Ran, at, command, copy_folder, empty, finish, fixture, json, limited, names};
use tempfile::TempDir;

/// Prune, learn again, quantize twice, measure.
const WHOLE: &str = r#"
source = "tiny-llama"
out_dir = "build"

[[pass]]
kind = "prune"
method = "depth"
keep = 2
calibration = "train.txt"
ctx = 64
chunks = 4

[[pass]]
kind = "distill"
train = ["train.txt"]
text = "heldout.txt"
steps = 16
every = 4
batch = 2
ctx = 64
lr = 1e-3

[[output]]
file = "small-Q8_0.gguf"
type = "q8_0"

[[output]]
file = "small-Q4_K_M.gguf"
type = "q4_k_m"
rules = ["blk.0.*=q8_0"]

[eval]
text = "heldout.txt"
ctx = 64
chunks = 2

[limits]
max_kl = 2.0
"#;

/// Nothing but outputs: fast.
const PLAIN: &str = r#"
source = "tiny-llama"
[[output]]
file = "a.gguf"
type = "q8_0"
[[output]]
file = "b.gguf"
type = "q4_0"
"#;

/// A folder with a model, texts and a recipe.
fn workshop(recipe: &str) -> TempDir {
    let folder = empty();
    copy_folder(&fixture("tiny-llama"), &folder.path().join("tiny-llama"));
    for name in ["train.txt", "heldout.txt"] {
        fs::copy(fixture(&format!("text/{name}")), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("tersor.toml"), recipe).unwrap();
    folder
}

fn run_command(folder: &TempDir, more: &[&str]) -> Command {
    let mut command = command(folder.path(), &[&["run", "-q"], more].concat());
    command.env("XDG_CACHE_HOME", folder.path().join("cache"));
    command
}

fn run(folder: &TempDir, more: &[&str]) -> Ran {
    finish(run_command(folder, more))
}

fn edit(folder: &TempDir, from: &str, to: &str) {
    let path = folder.path().join("tersor.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).unwrap();
}

fn outputs(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let build = folder.path().join("build");
    names(&build).into_iter().map(|name| (name.clone(), fs::read(build.join(name)).unwrap())).collect()
}

/// What was made now, of the results that a report tells of.
fn made(report: &Value) -> Vec<&str> {
    let results = report["results"].as_array().unwrap().iter();
    results.filter(|result| result["made"] == true).map(|result| result["what"].as_str().unwrap()).collect()
}

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

/// What a model learnt is not learnt again by a locked run: it comes from the cache or not at all.
#[test]
fn a_locked_run_starts_from_what_was_learnt() {
    let folder = workshop(WHOLE);
    run(&folder, &[]).exits(0);
    fs::remove_dir_all(at(&folder, "build")).unwrap();
    run(&folder, &["--locked"]).exits(0);
    fs::remove_dir_all(at(&folder, "build")).unwrap();
    run(&folder, &["--locked", "--no-cache"]).fails(1, "is not in the cache");
}

fn verify(folder: &TempDir, more: &[&str]) -> Ran {
    let mut command = command(folder.path(), &[&["verify"], more].concat());
    command.env("XDG_CACHE_HOME", folder.path().join("cache"));
    finish(command)
}

#[test]
fn a_file_is_made_again_from_what_it_tells() {
    let folder = workshop(WHOLE);
    run(&folder, &[]).exits(0);
    let file = "build/small-Q4_K_M.gguf";
    let same = verify(&folder, &[file, "--rederive"]).exits(0);
    assert_eq!(same.out, "build/small-Q4_K_M.gguf: 1.6 MB, the same bytes\n");
    // It tells of all that it went through.
    let told = json(&finish(command(folder.path(), &["inspect", file, "--json"])).exits(0));
    let fact = |key: &str| {
        let facts = told["facts"].as_array().unwrap();
        facts.iter().find(|fact| fact[0] == key).unwrap_or_else(|| panic!("{key}: {facts:?}"))[1].as_str().unwrap()
    };
    assert!(fact("tersor.prune").starts_with("depth"), "{}", fact("tersor.prune"));
    assert!(fact("tersor.distill").starts_with("from tiny-llama "), "{}", fact("tersor.distill"));
    assert!(fact("tersor.build").contains("kind = "), "{}", fact("tersor.build"));
    // A bit is another; the text is another; what was learnt is not there.
    let path = at(&folder, file);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let other = verify(&folder, &[file, "--rederive"]).exits(5);
    assert!(other.out.contains(&format!("other bytes from {last} on")), "{other:?}");
    let elsewhere = ["build/small-Q8_0.gguf", "--rederive", "--cache", "empty"];
    verify(&folder, &elsewhere).fails(1, "is not in the cache");
    fs::write(at(&folder, "train.txt"), "another text").unwrap();
    verify(&folder, &[file, "--rederive"]).fails(1, "`train.txt` changed");
    verify(&folder, &[&at(&folder, "tiny-llama"), "--rederive"]).fails(2, "does not say what it was made from");
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

#[test]
fn a_recipe_to_begin_with_runs() {
    let folder = workshop("");
    fs::remove_file(at(&folder, "tersor.toml")).unwrap();
    finish(command(folder.path(), &["init", "tiny-llama"])).exits(0);
    finish(command(folder.path(), &["init", "tiny-llama"])).fails(1, "tersor.toml");
    run(&folder, &["--depfile", "out.d"]).exits(0);
    assert_eq!(names(&folder.path().join("build")), ["tiny-llama-Q4_K_M.gguf"]);
    let rule = fs::read_to_string(at(&folder, "out.d")).unwrap();
    assert!(rule.starts_with("build/tiny-llama-Q4_K_M.gguf: \\\n  tersor.toml \\\n"), "{rule}");
    assert!(rule.contains("  tiny-llama/model.safetensors"), "{rule}");
}

#[test]
fn a_page_is_made_of_any_model() {
    let folder = workshop(PLAIN);
    run(&folder, &[]).exits(0);
    let report = |args: &[&str]| finish(command(folder.path(), &[&["report", "-q"], args].concat()));
    report(&["b.gguf", "--base", "tiny-llama"]).exits(0);
    let page = fs::read_to_string(at(&folder, "report.html")).unwrap();
    // Codes of q4_0 are zeros here and there.
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(page.contains("<title>ffn_down 3: 4.50</title>") && page.contains("type=q4_0"), "{page}");
    report(&["b.gguf"]).fails(1, "report.html");
    report(&["tiny-llama", "-o", "source.html"]).exits(0);
    let alone = fs::read_to_string(at(&folder, "source.html")).unwrap();
    assert_eq!(alone.matches("<svg").count(), 2, "no error without a base");
    assert!(alone.contains("<title>attn_q 0: 16.00</title>"));
}

#[test]
fn a_text_for_statistics_is_told_of() {
    let folder = workshop(&PLAIN.replace("q4_0\"", "q4_0\"\ncalibration = \"train.txt\"\nctx = 64\nchunks = 3"));
    run(&folder, &[]).exits(0);
    let text = blake3::hash(&fs::read(at(&folder, "train.txt")).unwrap());
    let file = String::from_utf8_lossy(&fs::read(at(&folder, "b.gguf")).unwrap()).into_owned();
    assert!(file.contains("tersor.calibration") && file.contains(&format!("blake3={text} tokens=192")));
    // It is an artifact like a pass that runs a model, but its bytes are the same anywhere.
    verify(&folder, &["b.gguf", "--rederive"]).exits(0);
}

/// Every key that the schema has is one that a recipe takes, and every option a recipe takes is described.
#[test]
fn the_schema_knows_the_keys() {
    let schema = json(&finish(command(empty().path(), &["schema"])).exits(0));
    let pass = |n: usize| &schema["properties"]["pass"]["items"]["oneOf"][n];
    assert_eq!(pass(0)["properties"]["kind"]["const"], "prune");
    assert_eq!(pass(0)["required"], serde_json::json!(["kind", "method"]));
    assert_eq!(pass(1)["properties"]["lr"]["type"], "number");
    assert_eq!(pass(0)["properties"]["search"]["type"], "boolean");
    let output = &schema["properties"]["output"]["items"]["anyOf"][0]["properties"];
    assert!(output["rules"]["description"].as_str().unwrap().contains("the first match wins"));
    assert!(output.get("threads").is_none());
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

/// The page stands alone, in a browser as in its text.
#[test]
fn the_page_of_a_run_stands_alone() {
    let folder = workshop(&format!("{PLAIN}[eval]\ntext = \"heldout.txt\"\nctx = 64\nchunks = 1\n"));
    run(&folder, &["--report", "page.html"]).exits(0);
    let page = fs::read_to_string(at(&folder, "page.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 6, "sizes, bits and errors of two outputs");
    assert!(page.contains("<title>ffn_down 3: 4.50</title>"), "bits of a matrix in q4_0");
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http") && !elsewhere.contains("<script"), "nothing is fetched");
    // With nothing to do it comes again, with the same figures.
    run(&folder, &["--report", "again.html"]).exits(0);
    let figures = |page: &str| page.split("How it came about").next().unwrap().to_owned();
    assert_eq!(figures(&fs::read_to_string(at(&folder, "again.html")).unwrap()), figures(&page));

    let chromium = std::env::var("TERSOR_CHROMIUM").unwrap_or_else(|_| "chromium".into());
    // In a frame: windows are wider than phones.
    let tell = "<script>const e = document.documentElement;\
                parent.postMessage(`${e.scrollWidth - e.clientWidth} of ${innerWidth}`, '*')</script>";
    fs::write(at(&folder, "inner.html"), page + tell).unwrap();
    let frame = "<script>onmessage = e => document.title = e.data</script>\
                 <iframe src='inner.html' style='width: 360px; height: 800px; border: 0'></iframe>";
    fs::write(at(&folder, "seen.html"), frame).unwrap();
    let mut browser = Command::new(&chromium);
    browser.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=3000",
        "--enable-logging=stderr",
    ]);
    browser.arg(format!("--user-data-dir={}", at(&folder, "profile"))).arg("--dump-dom");
    let Ok(seen) = browser.arg(format!("file://{}", at(&folder, "seen.html"))).output() else {
        println!("skipped: the page in a browser; install chromium, or set TERSOR_CHROMIUM to it");
        return;
    };
    let (dom, log) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    assert!(dom.contains("<title>0 of 360</title>"), "wider than a phone: {:?}", dom.split("</title>").next());
    assert!(!log.contains("CONSOLE"), "{log}");
}
