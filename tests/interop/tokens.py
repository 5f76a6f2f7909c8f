"""usage: tokens.py TEXT MODEL.gguf TOKENIZER.json [MODEL.gguf TOKENIZER.json ...]

A whole text tokenizes to the same ids in llama.cpp, by the keys of the GGUF file, and in
Hugging Face's tokenizers, by the folder's tokenizer.json.
"""
import sys
from pathlib import Path

from peers import model, require, tokenize

require("numpy", "llama_cpp")
tokenizers = require("tokenizers")


def check(raw, gguf, json):
    want = tokenizers.Tokenizer.from_file(json).encode(raw.decode(), add_special_tokens=False).ids
    with model(gguf, vocab_only=True) as llm:
        got = tokenize(llm, raw)
    first = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    assert got == want, (gguf, len(got), len(want), first, got[first : first + 8], want[first : first + 8])
    print(f"{Path(gguf).name}: {len(want)} ids of {len(raw)} bytes are equal")


text = Path(sys.argv[1]).read_bytes()
for pair in zip(sys.argv[2::2], sys.argv[3::2]):
    check(text, *pair)
