"""Checkpoints as numpy arrays, read without the package that tersor's tests of folders use."""
import json
import re
import struct

from peers import require

np = require("numpy")

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def read_safetensors(path):
    """Name to F32 array."""
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, entry in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + n + at for at in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw[begin:end], "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(raw[begin:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype("<f4")
        out[name] = values.reshape(entry["shape"])
    return out


def write_safetensors(path, tensors):
    """F32 arrays."""
    header, at = {}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at + 4 * x.size]}
        at += 4 * x.size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    body = b"".join(np.ascontiguousarray(x, "<f4").tobytes() for x in tensors.values())
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


def gguf_order(config, tensors):
    """Names and row order of GGUF: llama's query and key rows pair (2i, 2i + 1), not (i, i + d/2)."""
    out = {}
    for name, x in tensors.items():
        stem, kind = name.rsplit(".", 1)
        if found := re.fullmatch(r"model\.layers\.(\d+)\.(.*)", stem):
            new = f"blk.{found[1]}.{NAMES[found[2]]}"
            heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(NAMES[found[2]])
            if heads and config["model_type"] == "llama":
                h = config[heads]
                halves = x.reshape(h, 2, x.shape[0] // h // 2, *x.shape[1:])
                x = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(x.shape))
        else:
            new = OUTER[stem]
        out[f"{new}.{kind}"] = x
    return out
