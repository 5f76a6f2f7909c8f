"""usage: make_models.py FIXTURES OUT

Small folders of random weights, one per thing that a converter can get wrong. All are F32 and use
the tokenizer of fixtures/tiny-llama; those of Qwen 2 with the pre-tokenizer of Qwen 2.
"""
import json
import shutil
import sys
from pathlib import Path

from peers import require
from weights import write_safetensors

np = require("numpy")

BASE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 256,
        "rope_theta": 10_000.0, "vocab_size": 1024, "bos_token_id": 0, "eos_token_id": 0,
        "tie_word_embeddings": False, "torch_dtype": "float32"}
LLAMA = BASE | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
QWEN2 = BASE | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rms_norm_eps": 1e-6,
                "rope_theta": 1_000_000.0, "use_sliding_window": False}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
# The original contexts are short, so that 96 positions are enough to tell right from wrong.
MODELS = {
    "llama": LLAMA,
    "llama-tied": LLAMA | {"tie_word_embeddings": True},
    "llama-rope-llama3": LLAMA | {"rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}},
    "llama-rope-llama3-published": LLAMA | {"rope_theta": 500_000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}},
    "llama-rope-linear": LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama-rope-yarn": LLAMA | {"rope_scaling": YARN},
    "llama-rope-yarn-factor": LLAMA | {"rope_scaling": YARN | {"attention_factor": 1.5}},
    "null-attention-factor": LLAMA | {"rope_scaling": YARN | {"attention_factor": None}},
    # llama.cpp has no keys for these in the two families: a converter can only refuse them.
    "unusual-yarn-betas": LLAMA | {"rope_scaling": YARN | {
        "original_max_position_embeddings": 64, "beta_fast": 2.0, "beta_slow": 0.25}},
    "unusual-yarn-truncate": LLAMA | {"rope_scaling": YARN | {
        "original_max_position_embeddings": 64, "truncate": False}},
    # Both the same: their quotient is 1, and so is the factor on cosine and sine.
    "unusual-yarn-mscale": LLAMA | {"rope_scaling": YARN | {"mscale": 0.7, "mscale_all_dim": 0.7}},
    "llama-head-dim": LLAMA | {"head_dim": 32},
    "llama-head-dim-small": LLAMA | {"head_dim": 8, "num_key_value_heads": 4},
    "llama-attention-bias": LLAMA | {"attention_bias": True},
    "llama-mlp-bias": LLAMA | {"mlp_bias": True},
    "qwen2": QWEN2,
    "qwen2-tied": QWEN2 | {"tie_word_embeddings": True},
    "qwen2-rope-yarn": QWEN2 | {"rope_scaling": YARN},
}
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def tensors(config, rng):
    """Wide enough that attention looks at positions and a wrong rotation shows in the logits."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = (config[f"num_{kind}_heads"] * size for kind in ("attention", "key_value"))
    qwen2 = config["model_type"] == "qwen2"
    qkv_bias = qwen2 or config.get("attention_bias", False)
    o_bias, mlp_bias = (config.get(f"{part}_bias", False) for part in ("attention", "mlp"))
    out = {"model.embed_tokens.weight": rng.normal(0, 1, (config["vocab_size"], hidden))}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, rows, cols, bias in [
            ("self_attn.q_proj", q, hidden, qkv_bias), ("self_attn.k_proj", kv, hidden, qkv_bias),
            ("self_attn.v_proj", kv, hidden, qkv_bias), ("self_attn.o_proj", hidden, q, o_bias),
            ("mlp.gate_proj", ffn, hidden, mlp_bias), ("mlp.up_proj", ffn, hidden, mlp_bias),
            ("mlp.down_proj", hidden, ffn, mlp_bias)]:
            out[f"{at}{name}.weight"] = rng.normal(0, 1.5 * cols**-0.5, (rows, cols))
            if bias:
                out[f"{at}{name}.bias"] = rng.normal(0, 0.5, rows)
        for name in ("input_layernorm", "post_attention_layernorm"):
            out[f"{at}{name}.weight"] = rng.uniform(0.5, 1.5, hidden)
    out["model.norm.weight"] = rng.uniform(0.5, 1.5, hidden)
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = rng.normal(0, hidden**-0.5, (config["vocab_size"], hidden))
    return {name: x.astype(np.float32) for name, x in out.items()}


def tokenizer(source, config):
    state = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    if config["model_type"] == "qwen2":
        state["normalizer"] = {"type": "NFC"}
        state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]}
    return json.dumps(state, ensure_ascii=False)


def main(fixtures, out):
    source = Path(fixtures) / "tiny-llama"
    for seed, (name, config) in enumerate(MODELS.items()):
        folder = Path(out) / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        (folder / "tokenizer.json").write_text(tokenizer(source, config), encoding="utf-8")
        shutil.copy(source / "tokenizer_config.json", folder)
        write_safetensors(folder / "model.safetensors", tensors(config, np.random.default_rng(seed)))


main(*sys.argv[1:])
