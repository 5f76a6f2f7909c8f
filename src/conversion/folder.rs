//! The files beside the weights in a Hugging Face folder.

use crate::error::{Error, Result};
use crate::source::{describes_bitmask, is_companion, read_bytes};
use serde_json::{Map, Value};
use std::path::Path;

/// Written anew, or only true of the weights that were read.
const NOT_CARRIED: &[&str] = &["config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// A file of the output folder.
pub(super) type NamedFile = (String, Vec<u8>);

/// The files of `folder` that belong to the model, with config.json made to fit the new weights.
pub(super) fn carried_files(folder: &Path, config: &Map<String, Value>, dtype: &str) -> Result<Vec<NamedFile>> {
    let mut files = vec![config_file(config, dtype)];
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_companion(&path) && !NOT_CARRIED.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        let contents = read_bytes(&folder.join(&name))?;
        files.push((name, contents));
    }
    Ok(files)
}

/// config.json for weights of `dtype`.
pub(super) fn config_file(config: &Map<String, Value>, dtype: &str) -> NamedFile {
    let mut config = config.clone();
    // transformers 5 calls it `dtype`; whichever the folder has is corrected.
    let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(key.into(), torch_name(dtype).into());
    if !describes_bitmask(&config) {
        config.remove("quantization_config");
    }
    json_file("config.json", &Value::Object(config))
}

/// A JSON file as transformers indents it.
pub(super) fn json_file(name: &str, value: &Value) -> NamedFile {
    let mut text = serde_json::to_vec_pretty(value).expect("a JSON value always prints");
    text.push(b'\n');
    (name.to_owned(), text)
}

/// PyTorch's name of a safetensors dtype.
pub(super) fn torch_name(dtype: &str) -> &'static str {
    match dtype {
        "F16" => "float16",
        "BF16" => "bfloat16",
        "F64" => "float64",
        _ => "float32",
    }
}

/// How block-scaled float8 weights are scaled: rows and columns per scale; `None` for a checkpoint of plain floats.
///
/// # Errors
/// [`Error::ForeignQuantization`] for every other method.
pub(super) fn float8_blocks(path: &Path, config: &Map<String, Value>) -> Result<Option<(u64, u64)>> {
    let table = config.get("quantization_config").filter(|v| !v.is_null() && !describes_bitmask(config));
    let Some(table) = table else { return Ok(None) };
    let method = table.get("quant_method").and_then(Value::as_str).unwrap_or("a method without a name");
    let size = table.get("weight_block_size").and_then(Value::as_array);
    let sizes: Option<Vec<u64>> = size.and_then(|s| s.iter().map(|n| n.as_u64().filter(|n| *n > 0)).collect());
    match (method, sizes.as_deref()) {
        ("fp8", Some(&[rows, cols])) => Ok(Some((rows, cols))),
        ("fp8", _) => {
            let found = table.get("weight_block_size").map_or("nothing".into(), Value::to_string);
            let place = "`quantization_config.weight_block_size`";
            Err(Error::malformed(path, place, found, "rows and columns per scale, such as [128, 128]"))
        }
        _ => Err(Error::ForeignQuantization { path: path.to_owned(), method: method.to_owned() }),
    }
}

/// Special-token ids for generation_config.json.
pub(super) fn generation_config(metadata: &crate::gguf::Metadata) -> Value {
    let mut table = Map::new();
    for (key, gguf) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = metadata.count(gguf) {
            table.insert(key.into(), id.into());
        }
    }
    Value::Object(table)
}

/// The hash of a file, by its name.
pub(super) fn hash_file(path: &Path) -> Result<(String, blake3::Hash)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, blake3::hash(&read_bytes(path)?)))
}
