"""usage: folder.py SOURCE.gguf FOLDER BACK.gguf TEXT ORIGINAL_FOLDER

A folder made of a GGUF file: PyPI safetensors reads the values that PyPI gguf decodes from the
file, tokenizers reads the tokenizer, config.json says what the original one says, and the file made
of the folder has the first one's tensors.
"""
import json
import sys
from pathlib import Path

from forward import frequencies
from peers import require
from weights import gguf_order

np, gguf, tokenizers = require("numpy", "gguf", "tokenizers")
require("ml_dtypes")  # gives numpy the BF16 that safetensors asks it for
safetensors = require("safetensors.numpy")

# Keys that decide what transformers computes, and what it takes when they are absent.
DEFAULTS = {"architectures": None, "model_type": None, "hidden_size": None, "intermediate_size": None,
            "num_hidden_layers": None, "num_attention_heads": None, "num_key_value_heads": None,
            "hidden_act": None, "max_position_embeddings": None, "vocab_size": None,
            "rms_norm_eps": None, "rope_theta": 10_000.0, "tie_word_embeddings": False,
            "attention_bias": False, "mlp_bias": False}


def decoded(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def load(folder):
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        out |= safetensors.load_file(path)
    return {name: np.asarray(x, np.float32) for name, x in out.items()}


def read_config(folder):
    return json.loads((Path(folder) / "config.json").read_text())


def compare_configs(config, original):
    different = [f"{key}: {config.get(key, default)}, was {original.get(key, default)}"
                 for key, default in DEFAULTS.items() if config.get(key, default) != original.get(key, default)]
    assert not different, different
    size = original.get("head_dim") or original["hidden_size"] // original["num_attention_heads"]
    assert config.get("head_dim", size) == size
    (a, a_factor), (b, b_factor) = frequencies(config, size), frequencies(original, size)
    assert np.allclose(a, b, rtol=1e-6) and np.isclose(a_factor, b_factor, rtol=1e-6), "rope_scaling"


def main(source, folder, back, text, original):
    folder = Path(folder)
    config = read_config(folder)
    compare_configs(config, read_config(original))
    want, stored, again = decoded(source), gguf_order(config, load(folder)), decoded(back)
    for name in ("rope_freqs.weight",):  # derived from config.json, no tensor of a checkpoint
        want.pop(name, None), again.pop(name, None)
    for got, what in ((stored, "folder"), (again, "GGUF again")):
        assert got.keys() == want.keys(), (what, got.keys() ^ want.keys())
        for name, x in want.items():
            assert got[name].shape == x.shape and got[name].tobytes() == x.tobytes(), (what, name)
    text = Path(text).read_text(encoding="utf-8")
    ours, theirs = (tokenizers.Tokenizer.from_file(str(p)) for p in (folder / "tokenizer.json", Path(original) / "tokenizer.json"))
    a, b = (t.encode(text, add_special_tokens=False).ids for t in (ours, theirs))
    assert a == b, "tokens differ"
    assert ours.decode(a) == theirs.decode(b), "decoded text differs"
    print(f"{Path(source).name}: {len(want)} tensors and {len(a)} tokens are equal")


main(*sys.argv[1:])
