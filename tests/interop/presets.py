"""usage: presets.py FILE.gguf DECODED.gguf [FILE.gguf DECODED.gguf ...]

llama.cpp loads FILE and generates from it, and every tensor of DECODED, which tersor made of it in F32, holds the numbers
that PyPI gguf's dequantize makes of FILE's, bit for bit.
"""
import sys
from collections import Counter
from pathlib import Path

from peers import logits, model, require

np, gguf, _ = require("numpy", "gguf", "llama_cpp")
GENERATED = 8


def equal(path, decoded):
    theirs = {t.name: t for t in gguf.GGUFReader(decoded).tensors}
    tensors = gguf.GGUFReader(path).tensors
    assert theirs.keys() == {t.name for t in tensors}, path
    for t in tensors:
        want = gguf.quants.dequantize(t.data, t.tensor_type)
        assert theirs[t.name].data.tobytes() == want.astype(np.float32).tobytes(), f"{path}: values of {t.name}"
    return Counter(t.tensor_type.name for t in tensors)


def generates(path):
    ids = [1, 2, 3]
    with model(path, context=64, logits_all=True) as llm:
        for _ in range(GENERATED):
            out = logits(llm, ids)
            assert np.isfinite(out).all(), f"{path}: logits"
            ids.append(int(out[-1].argmax()))
    return ids[3:]


for path, decoded in zip(sys.argv[1::2], sys.argv[2::2]):
    kinds = equal(path, decoded)
    print(f"{Path(path).name}: tokens {generates(path)}, {dict(kinds)}")
