"""usage: prune.py MODEL PRUNED IMATRIX.gguf METHOD SPARSITY [SCOPE]

The zeros of a pruned folder against those that a few lines of numpy choose: magnitude (by row, tensor or globally), wanda
and owl; a sparsity is a share or N:M. All other weights must have the source's bytes.
"""
import sys
from pathlib import Path

from peers import require

np, gguf, ml_dtypes = require("numpy", "gguf", "ml_dtypes")
import json
import struct

NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
         "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def tensors(folder):
    """BF16 tensors by name, in the order of the file, as their bits."""
    data = np.memmap(folder / "model.safetensors", mode="r")
    size = struct.unpack("<Q", data[:8].tobytes())[0]
    entries = json.loads(data[8:8 + size].tobytes())
    entries.pop("__metadata__", None)
    for name, entry in sorted(entries.items(), key=lambda e: e[1]["data_offsets"]):
        assert entry["dtype"] == "BF16", name
        begin, end = (8 + size + at for at in entry["data_offsets"])
        yield name, data[begin:end].view(np.uint16).reshape(entry["shape"])


def values(bits):
    return bits.view(ml_dtypes.bfloat16).astype(np.float32)


def lowest(scores, zeros):
    """Along the last axis, the lowest ones; of equal ones the first."""
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, np.argsort(scores, axis=-1, kind="stable")[..., :zeros], True, axis=-1)
    return mask


def rows(scores, sparsity):
    if ":" in sparsity:
        keep, of = map(int, sparsity.split(":"))
        return lowest(scores.reshape(len(scores), -1, of), of - keep).reshape(scores.shape)
    return lowest(scores, int(float(sparsity) * scores.shape[1]))


def norms(path):
    """sqrt(sum of squares / tokens) by matrix."""
    found = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    return {name.removesuffix(".in_sum2"): np.sqrt(np.float32(sums.ravel() / found[name.replace("in_sum2", "counts")].ravel()))
            for name, sums in found.items() if name.endswith(".in_sum2")}


def owl(scores, sparsity):
    """By block, the share that goes: arXiv 2310.05175 with M = 5 and lambda = 0.08."""
    blocks = {}
    for (block, _), score in scores.items():
        blocks.setdefault(block, []).append(score.ravel().astype(np.float64))
    ratio = {}
    for block, parts in blocks.items():
        all = np.concatenate(parts)
        ratio[block] = np.mean(all > 5 * np.mean(all))
    low, high = min(ratio.values()), max(ratio.values())
    spread = {block: (r - low) / (high - low) * 0.16 for block, r in ratio.items()}
    mean = np.mean(list(spread.values()))
    return {block: float(sparsity) - s + mean for block, s in spread.items()}


source, pruned, imatrix, method, sparsity, scope = Path(sys.argv[1]), Path(sys.argv[2]), *(sys.argv[3:] + ["row"])[:4]
kept = {name: bits for name, bits in tensors(source) if "layers" in name and "proj" in name}
key = {name: (int(name.split(".")[2]), f"blk.{name.split('.')[2]}.{NAMES[name.split('.')[-2]]}.weight") for name in kept}
scores = {key[name]: np.abs(values(bits)) for name, bits in kept.items()}
if method != "magnitude":
    columns = norms(imatrix)
    scores = {k: score * columns[k[1]] for k, score in scores.items()}
if method == "owl":
    budget = owl(scores, sparsity)
    masks = {k: rows(score, str(budget[k[0]])) for k, score in scores.items()}
elif scope == "row":
    masks = {k: rows(score, sparsity) for k, score in scores.items()}
else:
    groups = [[k] for k in scores] if scope == "tensor" else [list(scores)]
    masks = {}
    for group in groups:
        flat = np.concatenate([scores[k].ravel() for k in group])
        mask = lowest(flat, int(float(sparsity) * flat.size))
        parts = np.split(mask, np.cumsum([scores[k].size for k in group])[:-1])
        masks |= {k: part.reshape(scores[k].shape) for k, part in zip(group, parts)}
found, zeros = dict(tensors(pruned)), 0
for name, bits in tensors(source):
    wanted = np.where(masks[key[name]], np.uint16(0), bits) if name in kept else bits
    assert np.array_equal(wanted, found.pop(name)), f"{name} differs"
    zeros += int(masks[key[name]].sum()) if name in kept else 0
assert not found, found
print(f"{method} {sparsity} {scope}: {zeros} zeros in {len(kept)} tensors, all where numpy has them")
