//! Adapters as PEFT loads them, onto the student that they were trained beside.

use super::file;
use super::student::module;
use crate::error::{Error, Result};
use crate::model::train::Network;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What PEFT puts before the names of a causal language model.
const PREFIX: &str = "base_model.model.";

/// Write adapters of so many rows, norms and biases of `network` to `folder`, which is made; `base` is the student's folder.
///
/// # Errors
/// [`Error::Io`].
pub fn write_adapter(network: &Network, (rank, alpha): (usize, f32), base: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let (mut targets, mut saved, mut biases) = (BTreeSet::new(), BTreeSet::new(), false);
    let mut tensors = Vec::new();
    for parameter in network.parameters().iter().filter(|p| p.trains) {
        match parameter.name.strip_suffix(".lora_A.weight") {
            Some(of) => _ = targets.insert(module(of)),
            None if parameter.name.ends_with(".bias") => biases = true,
            None if parameter.shape.len() == 1 => _ = saved.insert(module(&parameter.name)),
            None => {}
        }
        tensors.push((format!("{PREFIX}{}", parameter.name), &parameter.shape[..], &parameter.values[..]));
    }
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "modules_to_save": saved,
        "bias": if biases { "all" } else { "none" },
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    let path = folder.join("adapter_config.json");
    let text = serde_json::to_string_pretty(&config).expect("names and numbers always print");
    fs::write(&path, text).map_err(Error::io("write", &path))?;
    file::write(&folder.join("adapter_model.safetensors"), json!({ "format": "pt" }), &tensors)
}
