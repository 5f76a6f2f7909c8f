//! A checkpoint of 1.78 G random weights, in the shapes of Qwen2 1.5B with an output head of its own.

use crate::support::Random;
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

const HIDDEN: usize = 1536;
const FFN: usize = 8960;
const LAYERS: usize = 28;
const KEY_VALUE: usize = 256;
const VOCAB: usize = 151_936;
/// Columns whose values are so much larger than the others', as trained models have them.
const OUTLIER: f32 = 12.0;
const OUTLIERS: usize = 5;
/// Values that rows are cut from: drawing each anew would take a minute.
const POOL: usize = 1 << 22;

/// Write `dir` with config.json, model.safetensors in BF16, and the tokenizer files of the folder `tokenizer`.
pub fn make(dir: &Path, tokenizer: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(tokenizer)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().starts_with("tokenizer") {
            fs::copy(&path, dir.join(name))?;
        }
    }
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": 12, "num_key_value_heads": 2,
        "vocab_size": VOCAB, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_sliding_window": false,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    fs::write(dir.join("config.json"), config.to_string())?;
    weights(&dir.join("model.safetensors"))
}

/// Name and shape of every tensor.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for n in 0..LAYERS {
        let matrices = [
            ("self_attn.q_proj.weight", HIDDEN, HIDDEN),
            ("self_attn.k_proj.weight", KEY_VALUE, HIDDEN),
            ("self_attn.v_proj.weight", KEY_VALUE, HIDDEN),
            ("self_attn.o_proj.weight", HIDDEN, HIDDEN),
            ("mlp.gate_proj.weight", FFN, HIDDEN),
            ("mlp.up_proj.weight", FFN, HIDDEN),
            ("mlp.down_proj.weight", HIDDEN, FFN),
        ];
        let vectors = [
            ("self_attn.q_proj.bias", HIDDEN),
            ("self_attn.k_proj.bias", KEY_VALUE),
            ("self_attn.v_proj.bias", KEY_VALUE),
            ("input_layernorm.weight", HIDDEN),
            ("post_attention_layernorm.weight", HIDDEN),
        ];
        tensors.extend(matrices.map(|(name, rows, columns)| (format!("model.layers.{n}.{name}"), vec![rows, columns])));
        tensors.extend(vectors.map(|(name, size)| (format!("model.layers.{n}.{name}"), vec![size])));
    }
    tensors
}

fn weights(path: &Path) -> std::io::Result<()> {
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in tensors() {
        let end = at + 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, end] });
        header.insert(name, entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut random = Random(1);
    let pool: Vec<f32> = (0..POOL).map(|_| (random.gaussian() * 0.02) as f32).collect();
    for (_, shape) in tensors() {
        tensor(&mut file, &mut random, &pool, &shape)?;
    }
    file.flush()
}

fn tensor(out: &mut impl Write, random: &mut Random, pool: &[f32], shape: &[usize]) -> std::io::Result<()> {
    let columns = shape[shape.len() - 1];
    let rows = shape.iter().product::<usize>() / columns;
    let mut scales = vec![1.0f32; columns];
    for _ in 0..OUTLIERS {
        scales[random.bits() as usize % columns] = OUTLIER;
    }
    let mut bytes = Vec::with_capacity(2 * columns);
    for _ in 0..rows {
        let start = random.bits() as usize % (pool.len() - columns);
        bytes.clear();
        for (x, scale) in pool[start..][..columns].iter().zip(&scales) {
            bytes.extend_from_slice(&((x * scale).to_bits() >> 16).to_le_bytes()[..2]);
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}
