//! What makes no sense although each of its keys does.

use super::{Recipe, Step};
use crate::options::keys::{Value, Wrong};
use clap::Args;
use std::ffi::OsString;
use std::path::Path;

/// The options of a step make sense, whatever model it is to work on.
pub(super) fn options<A: Args>(step: &Step) -> Result<(), Wrong> {
    (step.kind.options)().parse::<A>(&step.keys, &beside(Path::new("MODEL"), None)).map(drop)
}

/// The same for a step that has a teacher.
pub(super) fn options_of_student<A: Args>(step: &Step) -> Result<(), Wrong> {
    let model = Path::new("MODEL");
    (step.kind.options)().parse::<A>(&step.keys, &with_student(model, model, None)).map(drop)
}

/// A model and an output, as arguments.
pub(super) fn beside(model: &Path, output: Option<&Path>) -> Vec<OsString> {
    let output = output.map(|output| ["--output".into(), output.as_os_str().to_owned()]);
    output.into_iter().flatten().chain(["--".into(), model.as_os_str().to_owned()]).collect()
}

/// A student, its teacher and an output, as arguments.
pub(super) fn with_student(student: &Path, teacher: &Path, output: Option<&Path>) -> Vec<OsString> {
    let student = ["--student".into(), student.as_os_str().to_owned()];
    student.into_iter().chain(beside(teacher, output)).collect()
}

/// Passes in an order that makes sense, outputs that do not collide, limits that are measured.
pub(super) fn check(recipe: &Recipe) -> Result<(), Wrong> {
    let wrong = |at: usize, problem: String, hint: &str| Err(Wrong { at: Some(at), problem, hint: hint.into() });
    let text = |step: &Step, name: &str| match step.keys.iter().find(|key| key.name == name).map(|key| &key.value) {
        Some(Value::Values(values)) => values.first().cloned(),
        _ => None,
    };
    for (n, pass) in recipe.passes.iter().enumerate().filter(|(_, pass)| pass.kind.name == "distill") {
        if n == 0 && text(pass, "quantize").is_none() {
            let problem = "the student is its own teacher: nothing was changed before".to_owned();
            return wrong(pass.at, problem, "put it behind a pass that prunes, or add quantize = \"TYPE\"");
        }
        let zeros = recipe.passes[..n].iter().any(|before| {
            before.kind.name == "prune" && ["magnitude", "wanda"].map(Some).contains(&text(before, "method").as_deref())
        });
        if zeros && !["norms", "scales"].map(Some).contains(&text(pass, "recover").as_deref()) {
            let problem = "learning would fill the zeros that a pass before made".to_owned();
            return wrong(pass.at, problem, "add recover = \"norms\" or \"scales\", or distill before pruning");
        }
    }
    if recipe.outputs.is_empty() {
        return wrong(0, "no output".into(), "add [[output]] with file = \"NAME.gguf\" and type = \"q4_k_m\"");
    }
    for (n, output) in recipe.outputs.iter().enumerate() {
        let collides = |other: &&Step| other.file.starts_with(&output.file) || output.file.starts_with(&other.file);
        if recipe.outputs[..n].iter().any(|other| collides(&other)) {
            let problem = format!("`{}` is or holds an output that stands before", output.file.display());
            return wrong(output.at, problem, "give each output a file of its own");
        }
    }
    let split = |output: &&Step| output.has_one_file() && text(output, "split_max_size").is_some();
    if let Some(output) = recipe.outputs.iter().find(split) {
        let problem = format!("`{}` is one file, so it is not split", output.name);
        return wrong(output.at, problem, "split it afterwards: tersor convert FILE --split-max-size SIZE -o OUTPUT");
    }
    let measured = recipe.eval.as_ref().is_some_and(|eval| text(eval, "text").is_some());
    if recipe.limits.max_kl.is_some() && !measured {
        return wrong(0, "`max_kl` without a text to measure it on".into(), "add [eval] with text = \"FILE\"");
    }
    if recipe.limits.min_decode_tokens_per_second.is_some() && recipe.bench.is_none() {
        let problem = "`min_decode_tokens_per_second` without a measurement".to_owned();
        return wrong(0, problem, "add [bench]");
    }
    Ok(())
}
