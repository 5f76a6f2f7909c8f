"""usage: logits.py FOLDER MODEL.gguf [FOLDER MODEL.gguf ...]

llama.cpp on the F32 file gives the logits of the numpy forward pass over the folder.
"""
import json
import sys
from pathlib import Path

from forward import forward
from peers import logits, model, require
from weights import read_safetensors

np = require("numpy", "llama_cpp")[0]

# Of the largest logit. Sums in F32 in another order give 1e-6 to 1e-5; a wrong rotation, bias or
# row order gives 0.01 and more, and the changed configurations below prove that it would be seen.
TOLERANCE = 1e-4
POSITIONS = 96
# What a converter could have dropped: without it the forward pass must disagree.
MATTERS = ["rope_scaling", "attention_factor", "beta_fast", "truncate", "mscale"]


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def without(config, key):
    """The configuration as if `key` had been dropped, or None when it has no such key."""
    scaling = config.get("rope_scaling") or {}
    if key == "rope_scaling" and scaling:
        return config | {key: None}
    if scaling.get(key) is not None:
        return config | {"rope_scaling": {k: v for k, v in scaling.items() if k != key}}
    return None


def check(folder, path):
    config = json.loads((Path(folder) / "config.json").read_text())
    weights = read_safetensors(Path(folder) / "model.safetensors")
    ids = np.random.default_rng(7).integers(0, config["vocab_size"], POSITIONS)
    want = forward(config, weights, ids)
    with model(path, context=128, exact=True, logits_all=True) as llm:
        got = logits(llm, ids)
    off = distance(got, want)
    notes = []
    for key in MATTERS:
        if changed := without(config, key):
            effect = distance(forward(changed, weights, ids), want)
            notes.append(f"without {key} {effect:.1e}")
            assert effect > 10 * TOLERANCE, f"{folder}: {key} makes no difference, so this proves nothing"
    print(f"{Path(folder).name}: {off:.1e} of the largest logit", *notes, sep=", ")
    return off < TOLERANCE


results = {pair: check(*pair) for pair in zip(sys.argv[1::2], sys.argv[2::2])}
failed = [Path(folder).name for (folder, _), good in results.items() if not good]
assert not failed, f"further than {TOLERANCE} from the forward pass: {failed}"
