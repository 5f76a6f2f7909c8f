"""Llama and Qwen 2 in numpy and F64, with rotary scaling as transformers defines it.

Shares nothing with tersor or llama.cpp: pairs are rotated as transformers pairs them, (i, i + d/2).
"""
import math

from peers import require

np = require("numpy")


def frequencies(config, size):
    """Rotary frequencies and the factor on cosine and sine: transformers' `modeling_rope_utils`."""
    base = config.get("rope_theta", 10_000.0)
    plain = base ** (-np.arange(0, size, 2) / size)
    scaling = config.get("rope_scaling") or {"rope_type": "default"}
    kind = scaling["rope_type"]
    if kind == "default":
        return plain, 1.0
    factor = scaling["factor"]
    if kind == "linear":
        return plain / factor, 1.0
    original = scaling["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = (original / scaling[f"{end}_freq_factor"] for end in ("low", "high"))
        length = 2 * math.pi / plain
        smooth = (original / length - scaling["low_freq_factor"]) / (
            scaling["high_freq_factor"] - scaling["low_freq_factor"])
        middle = (1 - smooth) * plain / factor + smooth * plain
        return np.where(length > low, plain / factor, np.where(length < high, plain, middle)), 1.0
    assert kind == "yarn", kind

    def dimension(rotations):
        return size * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = dimension(scaling.get("beta_fast") or 32), dimension(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    ramp = np.clip((np.arange(size // 2) - first) / max(last - first, 0.001), 0, 1)
    attention = scaling.get("attention_factor")
    if attention is None:
        scales = (scaling.get("mscale"), scaling.get("mscale_all_dim"))
        over, under = scales if all(scales) else (1, 0)
        attention = (0.1 * over * math.log(factor) + 1) / (0.1 * under * math.log(factor) + 1)
    return plain / factor * ramp + plain * (1 - ramp), attention


def forward(config, weights, ids):
    """Logits [time, vocab]."""
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rates, amplitude = frequencies(config, size)
    turn = amplitude * np.exp(1j * np.outer(np.arange(len(ids)), rates))[:, None]
    weights = {name: x.astype(np.float64) for name, x in weights.items()}

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[name + ".weight"]

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights.get(name + ".bias", 0.0)

    def rope(x):
        z = (x[..., : size // 2] + 1j * x[..., size // 2 :]) * turn
        return np.concatenate([z.real, z.imag], -1)

    n = len(ids)
    future = np.triu(np.full((n, n), -np.inf), 1)
    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm")
        q = rope(linear(h, at + "self_attn.q_proj").reshape(n, heads, size))
        k, v = (linear(h, at + f"self_attn.{c}_proj").reshape(n, shared, size) for c in "kv")
        k, v = (np.repeat(y, heads // shared, axis=1) for y in (rope(k), v))
        score = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(size) + future
        share = np.exp(score - score.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", share, v).reshape(n, heads * size)
        x = x + linear(mixed, at + "self_attn.o_proj")
        h = norm(x, at + "post_attention_layernorm")
        gate = linear(h, at + "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, at + "mlp.up_proj"), at + "mlp.down_proj")
    head = "model.embed_tokens" if config.get("tie_word_embeddings") else "lm_head"
    return norm(x, "model.norm") @ weights[head + ".weight"].T
