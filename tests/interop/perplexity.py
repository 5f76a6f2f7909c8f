"""usage: perplexity.py TEXT BASE.gguf MODEL.gguf EVAL.json [MODEL.gguf EVAL.json ...]

Perplexity and KL divergence by `tersor eval --text TEXT --base BASE` beside those of llama.cpp's logits on the same files,
as llama-perplexity defines them.
"""
import json
import sys
from pathlib import Path

from peers import log_softmax, logits, model, require, tokenize

np = require("numpy", "llama_cpp")[0]

# Relative. What differs is the rounding of activations: for K formats tersor has a scale for 32 of them, ggml one for 256, so
# its figures may be lower. llama.cpp's own figure for q4_k_m moves by .6 % between the kernels of two CPUs.
PERPLEXITY_ABOVE, PERPLEXITY_BELOW = {"q4_k_m": 0.012}, 0.01
KL_ABOVE = 0.03


def scored(llm, window):
    """Log probabilities of the second half, and the tokens that come there."""
    first = len(window) // 2
    return log_softmax(logits(llm, window, first)[:-1]), window[first + 1:]


def check(text, base_path, path, found):
    context, chunks = found["context"], found["chunks"]
    nll, kl = [], []
    options = {"context": context, "logits_all": True}
    with model(base_path, **options) as base, model(path, **options) as llm:
        ids = tokenize(llm, text)
        for n in range(chunks):
            window = ids[n * context:][:context]
            ours, targets = scored(llm, window)
            base_rows, _ = scored(base, window)
            nll.extend(-ours[range(len(targets)), targets])
            kl.extend((np.exp(base_rows) * (base_rows - ours)).sum(-1))
    theirs = float(np.exp(np.mean(nll))), float(np.mean(kl))
    ours = found["perplexity"]["value"], found["kl"]["mean"]
    name = Path(path).stem.rsplit("-", 1)[1]
    print(f"{name}: perplexity {ours[0]:.4f}, llama.cpp {theirs[0]:.4f}; mean KL {ours[1]:.6f}, llama.cpp {theirs[1]:.6f}")
    assert -PERPLEXITY_BELOW < ours[0] / theirs[0] - 1 < PERPLEXITY_ABOVE.get(name, 0.003), "another perplexity"
    # The base beside itself.
    assert path == base_path or ours[1] < (1 + KL_ABOVE) * theirs[1], "a larger divergence"


text = Path(sys.argv[1]).read_bytes()
for path, found in zip(sys.argv[3::2], sys.argv[4::2]):
    check(text, sys.argv[2], path, json.loads(Path(found).read_text()))
