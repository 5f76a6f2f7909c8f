"""usage: tasks.py MODEL.gguf DATA SHOTS EVAL.json

Accuracies of `tersor eval --tasks hellaswag,arc,piqa,lambada` are those that follow from llama.cpp's logits.
"""
import json
import sys
from pathlib import Path

from peers import log_softmax, logits, model, require, tokenize

np = require("numpy", "llama_cpp")[0]

# Of F32 files; sums in another order change the sixth digit of a likelihood.
ITEMS_OFF = 0
PERPLEXITY_OFF = 1e-4


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def hellaswag(data):
    rows = (data / "hellaswag/hellaswag_val_full.txt").read_text().splitlines()
    for at in range(0, len(rows), 6):
        yield rows[at], [" " + ending for ending in rows[at + 2:at + 6]], int(rows[at + 1])


def arc(data, file="ARC-Challenge-Test.jsonl"):
    for row in lines(data / "arc" / file):
        choices = row["question"]["choices"]
        answer = [c["label"] for c in choices].index(row["answerKey"])
        yield f"Question: {row['question']['stem']}\nAnswer:", [" " + c["text"] for c in choices], answer


def piqa(data):
    labels = (data / "piqa/valid-labels.lst").read_text().split()
    for row, label in zip(lines(data / "piqa/valid.jsonl"), labels):
        yield f"Question: {row['goal']}\nAnswer:", [" " + row["sol1"], " " + row["sol2"]], int(label)


def lambada(data):
    for row in lines(data / "lambada/lambada_test.jsonl"):
        *before, word = row["text"].split(" ")
        yield " ".join(before), [" " + word], 0


def likelihood(llm, prompt, choice):
    """Log likelihood of a choice, and whether each of its tokens is the likeliest."""
    before, ids = tokenize(llm, prompt.encode()), tokenize(llm, (prompt + choice).encode())
    shared = next((n for n, (a, b) in enumerate(zip(before, ids)) if a != b), min(len(before), len(ids)))
    rows = log_softmax(logits(llm, ids[:-1], shared - 1))
    return (sum(row[i] for row, i in zip(rows, ids[shared:])),
            all(row.argmax() == i for row, i in zip(rows, ids[shared:])))


def shown(items, examples, n, shots):
    """Examples before item `n`: the first ones that are not the item."""
    chosen = examples[:shots] if examples else [item for m, item in enumerate(items) if m != n][:shots]
    return "".join(f"{prompt}{choices[answer]}\n\n" for prompt, choices, answer in chosen)


def check(llm, data, shots, found):
    read = {"hellaswag": hellaswag, "arc": arc, "piqa": piqa, "lambada": lambada}[found["task"]]
    items = list(read(data))
    examples = list(arc(data, "ARC-Challenge-Dev.jsonl")) if read is arc else []
    right = by_length = 0
    nll = []
    for n, (prompt, choices, answer) in enumerate(items[:found["items"]]):
        scores = [likelihood(llm, shown(items, examples, n, shots) + prompt, choice) for choice in choices]
        if len(choices) == 1:
            right += scores[0][1]
            nll.append(-scores[0][0])
        else:
            right += int(np.argmax([s for s, _ in scores])) == answer
            by_length += int(np.argmax([s / len(c.strip()) for (s, _), c in zip(scores, choices)])) == answer
    ours = [round(found[key]["value"] * found["items"] / 100) for key in ("accuracy", "accuracy_norm") if found[key]]
    theirs = [right, by_length][:len(ours)]
    print(f"{found['task']}, {shots} shots: {ours} of {found['items']}, llama.cpp {theirs}", end="")
    assert all(abs(a - b) <= ITEMS_OFF for a, b in zip(ours, theirs)), "another accuracy"
    if nll:
        ours, theirs = found["perplexity"]["value"], float(np.exp(np.mean(nll)))
        print(f", perplexity {ours:.4f}, llama.cpp {theirs:.4f}", end="")
        assert abs(ours - theirs) < PERPLEXITY_OFF * theirs, "another perplexity"
    print()


with model(sys.argv[1], context=2048, exact=True, logits_all=True) as llm:
    for found in json.loads(Path(sys.argv[4]).read_text())["tasks"]:
        check(llm, Path(sys.argv[2]), int(sys.argv[3]), found)
