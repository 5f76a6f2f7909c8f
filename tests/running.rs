//! Commands that run a model: what they say and what they refuse.

mod support;

use serde_json::Value;
use std::fs;
use support::{at, copy_folder, empty, fixture, json, names, safetensors, tersor, tersor_in};

#[test]
fn eval_says_what_a_model_knows() {
    let folder = empty();
    let (model, text) = (fixture("tiny-llama"), fixture("text/heldout.txt"));
    let quantized = at(&folder, "q.gguf");
    tersor(&["quantize", &model, "-t", "q4_0", "-o", &quantized, "-q"]).exits(0);
    let common = ["--text", &text, "--chunks", "2", "--ctx", "64", "-q"];
    let run = |more: &[&str]| tersor(&[&["eval"], more, &common[..]].concat()).exits(0);
    let base = json(&run(&[&model, "--json"]));
    assert_eq!((&base["predictions"], &base["weights_only"]), (&62.into(), &Value::Null));
    let found = json(&run(&[&quantized, "--base", &model, "--json"]));
    assert_eq!(found["base_perplexity"], base["perplexity"]);
    for (scores, kl) in [(&found, 0.001..0.2), (&found["weights_only"], 0.001..0.2)] {
        assert!(kl.contains(&scores["kl"]["mean"].as_f64().unwrap()), "{scores}");
        assert!(scores["kl"]["p99"].as_f64() > scores["kl"]["median"].as_f64());
        assert!((70.0..100.0).contains(&scores["same_top"].as_f64().unwrap()), "{scores}");
    }
    let itself = json(&run(&[&model, "--base", &model, "--json"]));
    assert_eq!((&itself["kl"]["mean"], &itself["same_top"]), (&0.0.into(), &100.0.into()));
    let table = run(&[&quantized, "--base", &model]).out;
    let firsts: Vec<&str> = table.lines().skip(2).filter_map(|l| l.split("  ").next()).collect();
    let wanted =
        ["perplexity", "base perplexity", "mean KL", "median KL", "99 % KL", "same top token", "RMS change of p"];
    assert_eq!(firsts, wanted);
}

#[test]
fn eval_refuses_what_it_cannot_measure() {
    let folder = empty();
    fs::write(folder.path().join("short.txt"), "To be").unwrap();
    let (model, text, short) = (fixture("tiny-llama"), fixture("text/heldout.txt"), at(&folder, "short.txt"));
    let other = fixture("tiny-spm");
    for (args, code, message) in [
        (vec!["--text", &short], 2, "tokens, fewer than a context of 512\nhint: give a longer text"),
        (vec!["--text", &text, "--ctx", "1024"], 2, "a sequence of 1024 tokens, but the model takes 512"),
        (vec!["--text", &text, "--ctx", "2"], 2, "a context of 2 tokens"),
        (vec!["--text", &text, "--base", &other], 2, "the tokenizers differ: id 0 is `<|endoftext|>` in"),
        (vec!["--text", "nowhere.txt"], 1, "cannot open `nowhere.txt`"),
    ] {
        tersor(&[&["eval", &model, "-q"], &args[..]].concat()).fails(code, message);
    }
}

/// A folder with a task and with prompts of our own.
fn tasks() -> tempfile::TempDir {
    let folder = empty();
    let task = r#"{"prompt": "ROMEO", "choices": [":\n", "qqzzq", " and the"], "answer": 0}
{"prompt": "To be, or not to", "choices": [" xqj", " be"], "answer": 1}
{"prompt": "my", "choices": [" lord", " 4711"], "answer": 1}
"#;
    fs::write(folder.path().join("plays.jsonl"), task).unwrap();
    let prompts = r#"{"prompt": "ROMEO:\n", "reference": ["What say you, my lord?", "No."], "stop": "\n"}
{"prompt": "GLOUCESTER:\nMy lord", "reference": "I am sorry, my lord."}
"#;
    fs::write(folder.path().join("prompts.jsonl"), prompts).unwrap();
    folder
}

#[test]
fn eval_asks_questions() {
    let folder = tasks();
    let (model, quantized) = (fixture("tiny-llama"), at(&folder, "q.gguf"));
    tersor(&["quantize", &model, "-t", "q8_0", "-o", &quantized, "-q"]).exits(0);
    let data = folder.path().to_str().unwrap();
    let run = |model: &str, more: &[&str]| {
        tersor(&[&["eval", model, "--tasks", "plays", "--data", data, "-q"], more].concat()).exits(0)
    };
    let found = json(&run(&model, &["--json"]));
    let scores = &found["tasks"][0];
    assert_eq!((&scores["task"], &scores["items"], &scores["shots"]), (&"plays".into(), &3.into(), &0.into()));
    for figure in ["accuracy", "accuracy_norm"] {
        assert!((scores[figure]["value"].as_f64().unwrap() - 200.0 / 3.0).abs() < 1e-9, "{scores}");
        // Of two hits and a miss: sqrt(2/9 / 2).
        assert!((scores[figure]["error"].as_f64().unwrap() - 100.0 / 3.0).abs() < 1e-9, "{scores}");
    }
    assert_eq!((&scores["perplexity"], &found["base_tasks"]), (&Value::Null, &Value::Array(vec![])));
    let table = run(&quantized, &["--base", &model, "--limit", "2"]).out;
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["1 task, 0 shots", &quantized, &model]);
    assert_eq!(lines[1], ["plays (2) accuracy", "100.00 ± 0.00 %", "100.00 ± 0.00 %"]);
    assert_eq!(lines[2], ["plays (2) accuracy by length", "100.00 ± 0.00 %", "100.00 ± 0.00 %"]);
}

#[test]
fn eval_compares_what_is_written_with_references() {
    let folder = tasks();
    let (model, prompts) = (fixture("tiny-llama"), at(&folder, "prompts.jsonl"));
    let run =
        |more: &[&str]| tersor(&[&["eval", &model, "--generate", &prompts, "-n", "20", "-q"], more].concat()).exits(0);
    let found = json(&run(&["--json", "--base", &model]));
    let written = &found["written"];
    assert_eq!(written, &found["base_written"]);
    assert_eq!(written["prompts"], 2);
    let texts: Vec<&str> = written["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let greedy =
        json(&tersor(&["generate", &model, "-p", "ROMEO:\n", "-n", "20", "--temperature", "0", "-q", "--json"]));
    assert_eq!(greedy["text"].as_str().unwrap().split('\n').next(), Some(texts[0]), "the first line");
    let table = run(&[]).out;
    for row in [
        "2 prompts",
        "ROUGE-1",
        "ROUGE-2",
        "ROUGE-L",
        "BLEU",
        "rouge|refs:best|case:lc|tok:a-z0-9|stem:no|mean:f, bleu|",
    ] {
        assert!(table.lines().any(|line| line.starts_with(row)), "no `{row}` in {table}");
    }
}

#[test]
fn eval_refuses_tasks_that_it_cannot_ask() {
    let folder = tasks();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        at(&folder, name)
    };
    file("empty.jsonl", r#"{"prompt": "", "choices": ["a"], "answer": 0}"#);
    file("long.jsonl", &format!("{{\"prompt\": \"{}\", \"choices\": [\"a\"], \"answer\": 0}}", "word ".repeat(600)));
    let bad_prompt = file("bad.jsonl", "\n{\"prompt\": \"a\"}\n");
    let long_prompt =
        file("longer.jsonl", &format!("{{\"prompt\": \"{}\", \"reference\": \"a\"}}", "word ".repeat(600)));
    let nothing = file("nothing.jsonl", "");
    let (model, data) = (fixture("tiny-llama"), folder.path().to_str().unwrap());
    let asking = |task: &str, more: &[&str], code, message: &str| {
        tersor(&[&["eval", &model, "--tasks", task, "--data", data, "-q"], more].concat()).fails(code, message);
    };
    asking("sums", &[], 2, "unknown task `sums`; known are hellaswag, arc, piqa, lambada, and `");
    asking("arc", &[], 2, "has no `ARC-Challenge-Test.jsonl` for the task `arc`");
    asking("nothing", &[], 2, "has no items");
    asking("empty", &[], 2, "task `empty`, item 1: `a` has no token, or none before it");
    asking("long", &[], 2, " tokens, but the model takes 512\nhint: shorten it");
    asking("plays", &["--shots", "3"], 2, "task `plays`, item 1: 2 others can serve as examples");
    asking("prompts", &[], 1, "line 1: found unknown field `reference`");
    for (path, message) in [
        (&bad_prompt, "line 2: found missing field `reference`"),
        (&long_prompt, "wanted a prompt of 1 to 511 tokens"),
        (&nothing, "found no line"),
    ] {
        tersor(&["eval", &model, "--generate", path, "-q"]).fails(1, message);
    }
    tersor(&["eval", &model, "-q"]).fails(2, "<--text <FILE>|--tasks <TASK,TASK>|--generate <FILE>>");
    tersor(&["eval", &model, "--tasks", "plays", "-q"]).fails(2, "--data <DIR>");
}

#[test]
fn statistics_are_collected_and_used() {
    let folder = empty();
    let (model, text) = (fixture("tiny-llama"), fixture("text/train.txt"));
    let (imatrix, again) = (at(&folder, "imatrix.gguf"), at(&folder, "again.gguf"));
    let calibrate = |more: &[&str], to: &str| {
        let common = ["--chunks", "20", "--ctx", "256", "-o", to, "-q"];
        tersor(&[&["calibrate", &model, "--calibration", &text], &common[..], more].concat())
    };
    calibrate(&["--memory", "1"], &imatrix)
        .fails(1, "the plan needs 1.8 MB of memory at 1 threads, --memory allows 1.0 MB");
    let said = calibrate(&["--threads", "1"], &imatrix).exits(0).out;
    assert_eq!(said, format!("{imatrix}: 28 tensors of 20 contexts\n"));
    calibrate(&["--threads", "2", "--memory", "2"], &again).exits(0);
    assert_eq!(names(folder.path()), ["again.gguf", "imatrix.gguf"], "no progress is left");
    assert_eq!(fs::read(&imatrix).unwrap(), fs::read(&again).unwrap());
    tersor(&["calibrate", "--merge", &imatrix, &again, "-o", &at(&folder, "sum.gguf")]).exits(0);
    tersor(&["calibrate", "--merge", &imatrix, "-o", &again]).fails(1, "exists");

    let outputs = ["plain", "weighed", "both"].map(|name| at(&folder, &format!("{name}.gguf")));
    let quantize = |more: &[&str], to: &str| {
        json(&tersor(&[&["quantize", &model, "-t", "q4_0", "-o", to, "-q", "--json"], more].concat()).exits(0))
    };
    assert_eq!(quantize(&[], &outputs[0])["totals"]["imatrix"], Value::Null);
    let weighed = quantize(&["--imatrix", &imatrix], &outputs[1]);
    assert_eq!(weighed["totals"]["imatrix"]["with"], 28);
    assert_eq!(weighed["totals"]["imatrix"]["without"], Value::Array(vec![]));
    quantize(&["--calibration", &text, "--chunks", "20", "--ctx", "256"], &outputs[2]);
    assert_eq!(fs::read(&outputs[1]).unwrap(), fs::read(&outputs[2]).unwrap(), "statistics or their text");
    let kl = |file: &str| {
        let held_out = fixture("text/heldout.txt");
        let args =
            ["eval", file, "--base", &model, "--text", &held_out, "--chunks", "8", "--ctx", "256", "-q", "--json"];
        json(&tersor(&args).exits(0))["kl"]["mean"].as_f64().unwrap()
    };
    let (plain, weighed) = (kl(&outputs[0]), kl(&outputs[1]));
    assert!(weighed < plain, "{weighed} and {plain}");

    let verify = |more: &[&str]| tersor(&[&["verify", &outputs[1], "--base", &model, "--json"], more].concat());
    let told = json(&verify(&["--imatrix", &imatrix]).exits(0));
    let untold = json(&verify(&[]).exits(0));
    assert_eq!((&told["exact"], &told["within_bound"]), (&38.into(), &0.into()));
    assert_eq!(untold["within_bound"], 28);
    verify(&["--imatrix", &at(&folder, "sum.gguf")]).exits(5);
}

#[test]
fn statistics_of_another_model_are_refused() {
    let folder = empty();
    let imatrix = at(&folder, "imatrix.gguf");
    let (model, text) = (fixture("tiny-spm"), fixture("text/heldout.txt"));
    tersor(&["calibrate", &model, "--calibration", &text, "--chunks", "1", "--ctx", "64", "-o", &imatrix, "-q"])
        .exits(0);
    let args = ["quantize", &fixture("tiny-llama"), "--imatrix", &imatrix, "-o", &at(&folder, "out.gguf"), "-q"];
    tersor_in(&folder, &args).fails(2, "statistics of another model: `blk.0.attn_");
    let args = ["quantize", &fixture("tiny-llama"), "--imatrix", &fixture("tiny-llama/config.json"), "-q"];
    tersor_in(&folder, &args).fails(1, "wanted an importance matrix");
    assert_eq!(names(folder.path()), ["imatrix.gguf"]);
}

#[test]
fn bench_puts_models_beside_each_other() {
    let folder = empty();
    let (model, quantized) = (fixture("tiny-llama"), at(&folder, "q.gguf"));
    tersor(&["quantize", &model, "-t", "q4_0", "-o", &quantized, "-q"]).exits(0);
    let (text, common) = (fixture("text/heldout.txt"), ["--prompt", "16", "--tokens", "4", "--repetitions", "2", "-q"]);
    let run = |more: &[&str]| tersor(&[&["bench", &model, &quantized], &common[..], more].concat());
    let found =
        json(&run(&["--threads", "1,2", "--text", &text, "--chunks", "1", "--base", &model, "--json"]).exits(0));
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    for (model, kl) in models.iter().zip([0.0..1e-9, 1e-4..1.0]) {
        let threads: Vec<&Value> = model["speeds"].as_array().unwrap().iter().map(|s| &s["threads"]).collect();
        assert_eq!(threads, [&Value::from(1), &Value::from(2)]);
        for figure in ["prefill", "decode", "first_token"] {
            let spread = &model["speeds"][0][figure];
            assert!(spread["min"].as_f64() > Some(0.0) && spread["min"].as_f64() <= spread["max"].as_f64(), "{model}");
        }
        assert!(kl.contains(&model["quality"]["kl"]["mean"].as_f64().unwrap()), "{model}");
        let [weights, peak] = ["weights_memory", "peak_memory"].map(|m| model[m].as_u64());
        assert!(peak.is_none() || peak > weights, "{model}");
    }
    let table = run(&["--markdown"]).exits(0).out;
    let rows: Vec<&str> = table.lines().filter(|l| l.starts_with('|')).collect();
    assert!(rows[0].starts_with("| model | size | bits |") && rows.len() == 4, "{table}");
    assert!(rows[3].starts_with("| q.gguf | "), "{table}");
    tersor(&["bench", &model, "--prompt", "600", "-q"]).fails(2, "takes 512");
    assert!(tersor(&["bench", &model, "--prompt", "0"]).exits(2).err.contains("write a whole number above 0"));
    assert!(run(&["--base", &model]).exits(2).err.contains("--text"));
    run(&["--text", &text, "--base", &fixture("tiny-spm")]).fails(2, "the tokenizers differ");
}

#[test]
fn generate_writes_after_a_text() {
    let model = fixture("tiny-llama");
    let run = |more: &[&str]| tersor(&[&["generate", &model, "-p", "ROMEO:\n", "-n", "24"], more].concat()).exits(0);
    let greedy = json(&run(&["--temperature", "0", "--json", "-q"]));
    assert_eq!(
        (&greedy["prompt"], &greedy["prompt_tokens"], &greedy["tokens"]),
        (&"ROMEO:\n".into(), &6.into(), &24.into())
    );
    assert_eq!(greedy["end"], "length");
    let printed = run(&["--temperature", "0"]);
    assert_eq!(printed.out, format!("{}\n", greedy["text"].as_str().unwrap()));
    assert!(printed.err.starts_with("6 tokens of prompt, first token after "), "{}", printed.err);
    assert!(printed.err.ends_with("24 tokens: as many as asked for\n"), "{}", printed.err);
    let sampled = |seed: &str, threads: &str| run(&["--seed", seed, "--threads", threads, "-q"]);
    assert_eq!(sampled("1", "1").out, sampled("1", "2").out);
    assert_ne!(sampled("1", "1").out, sampled("2", "1").out);
    assert_eq!(sampled("1", "1").err, "");
}

#[test]
fn generate_answers_in_the_chat_template() {
    let folder = empty();
    let file = at(&folder, "chat.gguf");
    let template = fixture("chat/strict.jinja");
    tersor(&["quantize", &fixture("tiny-llama"), "--chat-template", &template, "-o", &file, "-q"]).exits(0);
    let run =
        |more: &[&str]| tersor(&[&["generate", &file, "-n", "3", "-q", "--json", "--chat", "Who?"], more].concat());
    assert_eq!(json(&run(&[]).exits(0))["prompt"], "<|endoftext|>[INST] Who? [/INST]");
    let told = json(&run(&["--system", "Be brief."]).exits(0));
    assert_eq!(told["prompt"], "<|endoftext|>[INST] Be brief.\n\nWho? [/INST]");
}

#[test]
fn generate_refuses_what_it_cannot_write() {
    let model = fixture("tiny-spm");
    let run = |more: &[&str]| tersor(&[&["generate", &model, "-q"], more].concat());
    run(&["--chat", "Who?"]).fails(2, "has no chat template\nhint: give the text as it is with `-p`");
    run(&["-p", &"word ".repeat(600)]).fails(2, "tokens, but the model takes 1 to ");
    for (args, message) in [
        (vec![], "<--prompt <TEXT>|--chat <TEXT>>"),
        (vec!["-p", "a", "--chat", "b"], "cannot be used with"),
        (vec!["-p", "a", "--temperature", "1e-9"], "write 0, or a number from 0.001 to 100"),
        (vec!["-p", "a", "--top-p", "0"], "write a number above 0 and up to 1"),
        (vec!["-p", "a", "-n", "0"], "write a whole number above 0"),
    ] {
        run(&args).fails(2, message);
    }
}

#[test]
fn a_model_that_predicts_nothing_is_an_error() {
    let folder = empty();
    let damaged = folder.path().join("damaged");
    copy_folder(&fixture("tiny-spm"), &damaged);
    let weights = damaged.join("model.safetensors");
    let mut tensors = safetensors::read(&weights);
    tensors.iter_mut().find(|t| t.name == "model.norm.weight").unwrap().bytes.fill(0xff);
    safetensors::write(&weights, &tensors);
    let (damaged, text) = (at(&folder, "damaged"), fixture("text/heldout.txt"));
    let message = format!("`{damaged}` predicts nothing: a logit is NaN\nhint: ");
    tersor(&["generate", &damaged, "-p", "a", "-q"]).fails(1, &message);
    tersor(&["eval", &damaged, "--text", &text, "--ctx", "32", "-q"]).fails(1, &message);
}
