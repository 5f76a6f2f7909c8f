"""usage: llama_quantize.py BF16.gguf Q4_0.gguf TEXT

llama-quantize's Q4_0 against tersor's, both made from the same BF16 file: bytes of the tensors,
divergence of the predictions, and text generated greedily.

ggml is compiled for the machine's own instructions, so it may fuse multiplications and
additions; a value close to the middle between two steps then rounds the other way.
"""
import sys
import tempfile
from pathlib import Path

from peers import log_softmax, logits, model, quantize, require, tokenize

np, gguf, llama_cpp = require("numpy", "gguf", "llama_cpp")

MAX_DIFFERENT = 0.02  # of the blocks of a tensor
MAX_SHARE = 0.1  # of the divergence that Q4_0 itself brings
WINDOW, WINDOWS = 512, 2
PROMPTS = ["The capital of France is", "Once upon a time", "Water boils at", "def fibonacci(n):",
           "In the year 1969,", "Dear Sir or Madam,"]
TOKENS = 24


def compare_tensors(ours, theirs):
    ours, theirs = ({t.name: t for t in gguf.GGUFReader(p).tensors} for p in (ours, theirs))
    assert ours.keys() == theirs.keys()
    worst, blocks, different = 0.0, 0, 0
    for name, a in ours.items():
        b = theirs[name]
        assert a.tensor_type == b.tensor_type and list(a.shape) == list(b.shape), name
        size = gguf.GGML_QUANT_SIZES[a.tensor_type][1]
        unequal = (a.data.view(np.uint8).reshape(-1, size) != b.data.view(np.uint8).reshape(-1, size)).any(1)
        if a.tensor_type != gguf.GGMLQuantizationType.Q4_0:
            assert not unequal.any(), f"{name}: {a.tensor_type.name} must be the same bytes"
            continue
        assert unequal.mean() < MAX_DIFFERENT, (name, unequal.mean())
        worst = max(worst, unequal.mean())
        blocks, different = blocks + len(unequal), different + unequal.sum()
    print(f"Q4_0 blocks that differ: {different} of {blocks} ({different / blocks:.3%}), worst tensor {worst:.3%}")


def predictions(path, text):
    """Log-probabilities over the text, and what follows each prompt, in tokens."""
    with model(path, context=WINDOW, logits_all=True) as llm:
        ids = tokenize(llm, text)[: WINDOW * WINDOWS]
        scores = [log_softmax(logits(llm, ids[i : i + WINDOW])).astype(np.float32)
                  for i in range(0, len(ids), WINDOW)]
        tails = []
        for prompt in PROMPTS:
            llm.reset()
            steps = llm.generate(tokenize(llm, prompt.encode()), temp=0.0)
            tails.append([token for token, _ in zip(steps, range(TOKENS))])
        print(f"{Path(path).name}: {llm.detokenize(tails[0]).decode(errors='replace')!r}")
    return np.concatenate(scores), tails


def divergence(teacher, student):
    """Mean KL divergence in nats per token."""
    return float(np.mean([(np.exp(p) * (p - q)).sum(dtype=np.float64) for p, q in zip(teacher, student)]))


def main(bf16, q4_0, text):
    with tempfile.TemporaryDirectory() as folder:
        peer = Path(folder) / "llama-quantize-q4_0.gguf"
        quantize(bf16, peer, llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0)
        compare_tensors(q4_0, peer)
        text = Path(text).read_bytes()[:20_000]
        base, _ = predictions(bf16, text)
        ours, our_tails = predictions(q4_0, text)
        theirs, their_tails = predictions(peer, text)
    costs = divergence(base, ours), divergence(base, theirs)
    between = divergence(theirs, ours)
    same = sum(a == b for a, b in zip(our_tails, their_tails))
    print(f"KL to BF16: tersor {costs[0]:.4f}, llama-quantize {costs[1]:.4f}; between the two {between:.5f}")
    print(f"greedy: {same} of {len(PROMPTS)} continuations of {TOKENS} tokens are equal")
    assert between < MAX_SHARE * costs[1]
    assert abs(costs[0] - costs[1]) < MAX_SHARE * costs[1]
    assert 2 * same >= len(PROMPTS)
    assert sum(a[0] == b[0] for a, b in zip(our_tails, their_tails)) >= len(PROMPTS) - 1


main(*sys.argv[1:])
