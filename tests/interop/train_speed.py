"""usage: train_speed.py CONFIG THREADS [STEPS [BATCH CONTEXT [f32|bf16]]]

Tokens per second of PyTorch on the CPU, in f32 or with autocast to bf16, for the model of a config.json with weights by chance: cross-entropy, its
gradient, clipping and AdamW, as `tersor train` does them. Every step is timed; the median counts. Needs torch and
transformers.
"""
import sys
import time

from peers import require

torch, transformers = require("torch", "transformers")

config, threads = sys.argv[1], int(sys.argv[2])
steps, batch, context = [int(a) for a in sys.argv[3:6]] + [20, 4, 256][len(sys.argv[3:6]):]
products = sys.argv[6] if len(sys.argv) > 6 else "f32"
torch.set_num_threads(threads)
torch.manual_seed(0)
model = transformers.LlamaForCausalLM(transformers.AutoConfig.from_pretrained(config))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
times = []
for _ in range(steps):
    ids = torch.randint(0, model.config.vocab_size, (batch, context))
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=products == "bf16"):
        loss = model(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    times.append(time.perf_counter() - start)
median = sorted(times[2:])[len(times[2:]) // 2]
print(f"torch {torch.__version__}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {threads} threads, {products}: "
      f"{batch * context / median:.0f} tokens/s")
