"""usage: metadata.py TERSOR.gguf LLAMA_CPP.gguf

Every key of the family and of the tokenizer that llama.cpp's converter wrote is in tersor's file
with the same value, and the other way round.
"""
import sys

from peers import require

gguf, np = require("gguf", "numpy")

# Key, and why the two files may differ in it. The folder is not the one that the GGUF file was made of.
EXCEPTIONS = {
    "tokenizer.ggml.unknown_token_id": "the folder's tokenizer_config.json names no unk_token",
}


def keys(path):
    fields = gguf.GGUFReader(path).fields
    return {k: (f.types, f.contents()) for k, f in fields.items() if k.startswith(("llama.", "tokenizer."))}


def short(value):
    text = repr(value)
    return text if len(text) < 100 else text[:100] + "..."


ours, theirs = keys(sys.argv[1]), keys(sys.argv[2])
different = []
for key in sorted(ours.keys() | theirs.keys()):
    if ours.get(key) == theirs.get(key):
        continue
    print(f"{key}: {short(ours.get(key))}, llama.cpp {short(theirs.get(key))}: {EXCEPTIONS.get(key, 'UNEXPECTED')}")
    if key not in EXCEPTIONS:
        different.append(key)
print(f"{len(ours.keys() & theirs.keys())} keys in both files")
assert not different, different
