"""usage: imatrix.py F32.gguf IMATRIX.gguf TEXT

llama-quantize's Q4_0 of a file, without statistics and with those that `tersor calibrate` collected, read as llama-quantize
reads them: with them it predicts more as the file itself does.
"""
import ctypes
import sys
import tempfile
from pathlib import Path

from peers import log_softmax, logits, model, require, tokenize

np, gguf, llama_cpp = require("numpy", "gguf", "llama_cpp")

CONTEXT, CONTEXTS = 256, 8
QUIET = llama_cpp.llama_log_callback(lambda *_: None)  # ctypes needs it to stay alive


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


def quantize(source, out, means=None):
    llama_cpp.llama_log_set(QUIET, None)
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype, p.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, 2
    if means:
        entry = llama_cpp.llama_model_imatrix_data
        floats = ctypes.POINTER(ctypes.c_float)
        entries = [entry(name.encode(), data.ctypes.data_as(floats), data.size) for name, data in means.items()]
        p.imatrix = (entry * (len(entries) + 1))(*entries)  # the last one is empty
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), p) == 0


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
    quantize(source, plain)
    quantize(source, weighed, means)
    without, with_them = (divergence(base, predictions(path, text)) for path in (plain, weighed))
print(f"{len(means)} matrices; KL of llama-quantize's Q4_0 {without:.5f}, with statistics {with_them:.5f}")
assert with_them < without
