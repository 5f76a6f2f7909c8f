"""What `tersor bench` measures, of llama.cpp (PyPI llama-cpp-python): prefill and decode tokens per second of GGUF files.

llama_speed.py THREADS PROMPT TOKENS REPETITIONS FILE..."""

import statistics
import sys
import time

import llama_cpp


QUIET = llama_cpp.llama_log_callback(lambda *_: None)


def run(context, model, prompt: int, tokens: int) -> tuple[float, float]:
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    ids = [n * 37 % vocabulary for n in range(max(prompt, tokens))]
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)

    def decode(part: list[int]) -> None:
        array = (llama_cpp.llama_token * len(part))(*part)
        batch = llama_cpp.llama_batch_get_one(array, len(part))
        assert llama_cpp.llama_decode(context, batch) == 0
        llama_cpp.llama_synchronize(context)

    start = time.perf_counter()
    decode(ids[:prompt])
    middle = time.perf_counter()
    for n in range(tokens):
        decode([ids[n]])
    return prompt / (middle - start), tokens / (time.perf_counter() - middle)


def main() -> None:
    threads, prompt, tokens, repetitions = map(int, sys.argv[1:5])
    llama_cpp.llama_log_set(QUIET, None)
    llama_cpp.llama_backend_init()
    for path in sys.argv[5:]:
        model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = prompt + tokens + 16
        settings.n_batch = settings.n_ubatch = prompt
        settings.n_threads = settings.n_threads_batch = threads
        context = llama_cpp.llama_init_from_model(model, settings)
        run(context, model, prompt, tokens)
        found = [run(context, model, prompt, tokens) for _ in range(repetitions)]
        prefill, decode = (statistics.median(column) for column in zip(*found))
        print(f"{path} {threads} threads: prefill {prefill:.1f} t/s, decode {decode:.1f} t/s", flush=True)
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


main()
