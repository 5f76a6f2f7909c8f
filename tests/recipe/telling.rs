//! What files, pages and the schema say.

use crate::support::{at, command, empty, finish, json, names};
use crate::{PLAIN, WHOLE, run, run_command, verify, workshop};
use std::fs;
use std::process::Command;

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
fn a_text_for_statistics_is_told_of() {
    let folder = workshop(&PLAIN.replace("q4_0\"", "q4_0\"\ncalibration = \"train.txt\"\nctx = 64\nchunks = 3"));
    run(&folder, &[]).exits(0);
    let text = blake3::hash(&fs::read(at(&folder, "train.txt")).unwrap());
    let file = String::from_utf8_lossy(&fs::read(at(&folder, "b.gguf")).unwrap()).into_owned();
    let inputs = format!("\"train.txt\":\"{text}\"");
    assert!(file.contains(&inputs) && file.contains("chunks = \\\"3\\\"\\nctx = \\\"64\\\""));
    assert!(file.contains("tersor.calibration_tokens") && file.contains("\"statistics\":\""));
    verify(&folder, &["b.gguf", "--rederive"]).exits(0);
}

/// A model of the Hub has its name there wherever the cache of the Hub is.
#[test]
fn a_model_of_the_hub_is_told_of_by_its_name() {
    let folder = workshop("source = \"org/tiny\"\n[[output]]\nfile = \"a.gguf\"\ntype = \"q8_0\"\n");
    let hub = folder.path().join("hub/models--org--tiny");
    fs::create_dir_all(hub.join("refs")).unwrap();
    fs::create_dir(hub.join("snapshots")).unwrap();
    fs::write(hub.join("refs/main"), "0123abcd").unwrap();
    fs::rename(folder.path().join("tiny-llama"), hub.join("snapshots/0123abcd")).unwrap();
    let mut command = run_command(&folder, &[]);
    finish({
        command.env("HF_HUB_CACHE", folder.path().join("hub"));
        command
    })
    .exits(0);
    let lock = fs::read_to_string(at(&folder, "tersor.lock")).unwrap();
    assert!(lock.contains("\n\"org/tiny/model.safetensors\" = ") && !lock.contains("snapshots"), "{lock}");
    let file = String::from_utf8_lossy(&fs::read(at(&folder, "a.gguf")).unwrap()).into_owned();
    assert!(file.contains("\"org/tiny/config.json\":\"") && !file.contains("snapshots"));
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
