"""usage: encodings.py FOLDER MODEL.gguf ...

PyPI gguf reads each file, and every tensor holds the bytes that its numpy quantizer makes of the
checkpoint's values, and decodes to the same numbers bit for bit.
"""
import json
import sys
from collections import Counter
from pathlib import Path

from peers import require
from weights import gguf_order, read_safetensors

np, gguf = require("numpy", "gguf")
F32 = gguf.GGMLQuantizationType.F32


def check(folder, path):
    config = json.loads((Path(folder) / "config.json").read_text())
    want = gguf_order(config, read_safetensors(Path(folder) / "model.safetensors"))
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    assert tensors.keys() == want.keys(), tensors.keys() ^ want.keys()
    for name, t in tensors.items():
        values = want[name]
        assert list(t.shape) == list(values.shape)[::-1], (name, t.shape)
        data = values if t.tensor_type == F32 else gguf.quants.quantize(values, t.tensor_type)
        assert t.data.tobytes() == data.tobytes(), f"{path}: bytes of {name}"
        decoded = gguf.quants.dequantize(t.data, t.tensor_type)
        again = gguf.quants.dequantize(data, t.tensor_type)
        assert decoded.shape == values.shape and decoded.tobytes() == again.tobytes(), f"{path}: values of {name}"
    kinds = Counter(t.tensor_type.name for t in tensors.values())
    print(f"{Path(path).name}: {len(tensors)} tensors equal", dict(kinds))


for file in sys.argv[2:]:
    check(sys.argv[1], file)
