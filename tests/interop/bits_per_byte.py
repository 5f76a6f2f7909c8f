"""usage: bits_per_byte.py MODEL.gguf TOKENIZER.json TEXT STATED

Bits per byte through llama.cpp in windows of 256 tokens without overlap, as the model card of
fixtures/tiny-llama counts them, against those of the unquantized weights.
"""
import math
import sys
from pathlib import Path

from peers import log_softmax, logits, model, require

np = require("numpy", "llama_cpp")[0]
tokenizers = require("tokenizers")

CONTEXT = 256
TOLERANCE = 0.005  # Q8_0, and int8 activations in llama.cpp


def main(path, tokenizer, text, stated):
    raw = Path(text).read_bytes()
    ids = [0] + tokenizers.Tokenizer.from_file(tokenizer).encode(raw.decode()).ids
    nats = 0.0
    with model(path, context=CONTEXT, logits_all=True) as llm:
        for start in range(0, len(ids) - 1, CONTEXT):
            window = ids[start : start + CONTEXT + 1]
            p = log_softmax(logits(llm, window[:-1]))
            nats -= p[np.arange(len(window) - 1), window[1:]].sum()
    measured = nats / math.log(2) / len(raw)
    print(f"{Path(path).name}: {measured:.4f} bits per byte, the model card states {stated}")
    assert abs(measured - float(stated)) < TOLERANCE


main(*sys.argv[1:])
