"""usage: imatrix.py F32.gguf IMATRIX.gguf TEXT

llama-quantize's Q4_0 of a file, without statistics and with those that `tersor calibrate` collected, read as llama-quantize
reads them: with them it predicts more as the file itself does.
"""
import ctypes
import sys
import tempfile
from pathlib import Path

from peers import log_softmax, logits, model, quantize, require, tokenize

np, gguf, llama_cpp = require("numpy", "gguf", "llama_cpp")

CONTEXT, CONTEXTS = 256, 8
Q4_0 = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0


def importance(path):
    """Mean squares by matrix."""
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_count"].contents() > 0 and reader.fields["imatrix.chunk_size"].contents() > 0
    assert reader.fields["imatrix.datasets"].contents()
    tensors = {t.name: t for t in reader.tensors}
    names = [name.removesuffix(".in_sum2") for name in tensors if name.endswith(".in_sum2")]
    assert len(tensors) == 2 * len(names)
    return {name: (tensors[f"{name}.in_sum2"].data / tensors[f"{name}.counts"].data).astype(np.float32).ravel()
            for name in names}


def entries(means):
    """As llama-quantize takes them."""
    entry, floats = llama_cpp.llama_model_imatrix_data, ctypes.POINTER(ctypes.c_float)
    all = [entry(name.encode(), data.ctypes.data_as(floats), data.size) for name, data in means.items()]
    return (entry * (len(all) + 1))(*all)  # the last one is empty


def predictions(path, text):
    with model(path, context=CONTEXT, logits_all=True) as llm:
        ids = tokenize(llm, text)
        return [log_softmax(logits(llm, ids[n * CONTEXT:][:CONTEXT])) for n in range(CONTEXTS)]


def divergence(base, found):
    return float(np.mean([(np.exp(b) * (b - f)).sum(-1).mean() for b, f in zip(base, found)]))


source, means, text = sys.argv[1], importance(sys.argv[2]), Path(sys.argv[3]).read_bytes()
base = predictions(source, text)
with tempfile.TemporaryDirectory() as folder:
    plain, weighed = Path(folder) / "plain.gguf", Path(folder) / "weighed.gguf"
    quantize(source, plain, Q4_0)
    quantize(source, weighed, Q4_0, entries(means))
    without, with_them = (divergence(base, predictions(path, text)) for path in (plain, weighed))
print(f"{len(means)} matrices; KL of llama-quantize's Q4_0 {without:.5f}, with statistics {with_them:.5f}")
assert with_them < without
