"""Writes fixtures/logits/NAME.json: what transformers (PyPI, torch on the CPU, f32) computes for models in this repository
and for SmolLM2. Run once: reference_logits.py REPOSITORY [FOLDER-OF-MODELS]. tests/models.rs compares."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

SEEN = 64
WRITTEN = 32
TEXT = [1, 17, 42, 99, 3, 250, 88, 7, 64, 128, 200, 5, 77, 31, 150, 12, 9, 201, 33, 18, 240, 61, 2, 111]


def logits(folder: Path) -> dict:
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    ids = [i % model.config.vocab_size for i in TEXT]
    with torch.no_grad():
        found = model(torch.tensor([ids])).logits[0].double()
        written = list(ids)
        for _ in range(WRITTEN):
            written.append(int(model(torch.tensor([written])).logits[0, -1].argmax()))
    rows = [
        {
            "first": [float(f"{x:.8g}") for x in found[at, :SEEN].tolist()],
            "log_sum": torch.logsumexp(found[at], 0).item(),
            "top": int(found[at].argmax()),
            "largest": found[at].abs().max().item(),
        }
        for at in range(len(ids))
    ]
    return {"ids": ids, "greedy": written[len(ids):], "rows": [rows[at] for at in (0, 1, len(ids) // 2, len(ids) - 1)],
            "positions": [0, 1, len(ids) // 2, len(ids) - 1]}


def main() -> None:
    repository = Path(sys.argv[1])
    models = {name.replace("/", "-"): repository / "fixtures" / name
              for name in ("tiny-llama", "tiny-spm", "broken/hf-valid-qwen2")}
    if len(sys.argv) > 2:
        models["smollm2-135m"] = Path(sys.argv[2]) / "smollm2-135m"
    out = repository / "fixtures" / "logits"
    out.mkdir(exist_ok=True)
    for name, folder in models.items():
        (out / f"{name}.json").write_text(json.dumps(logits(folder)) + "\n")


if __name__ == "__main__":
    main()
