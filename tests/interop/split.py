"""usage: split.py WHOLE.gguf FIRST_PART.gguf

llama.cpp finds all parts from the first, and computes the same logits as with the whole file.
"""
import sys
from pathlib import Path

from peers import logits, model, require

np = require("numpy", "llama_cpp")[0]
ids = np.random.default_rng(1).integers(0, 1024, 64)
results = []
for path in sys.argv[1:]:
    with model(path, context=64, logits_all=True) as llm:
        results.append(logits(llm, ids))
first = Path(sys.argv[2])
parts = len(list(first.parent.glob(first.name.replace("-00001-of-", "-*-of-"))))
print(f"{parts} parts, largest difference {np.abs(results[0] - results[1]).max()}")
assert parts > 1
assert (results[0] == results[1]).all()
