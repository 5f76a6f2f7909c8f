"""usage: llama_quantize.py IN.gguf OUT.gguf TYPE THREADS

llama-quantize by way of PyPI llama-cpp-python; prints the wall and CPU seconds of it, without Python's start.
"""
import resource
import sys
import time

import llama_cpp

source, out, kind, threads = sys.argv[1:]
quiet = llama_cpp.llama_log_callback(lambda *_: None)  # ctypes needs it to stay alive
llama_cpp.llama_log_set(quiet, None)
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind.upper())
params.nthread = int(threads)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


before, start = cpu(), time.perf_counter()
assert llama_cpp.llama_model_quantize(source.encode(), out.encode(), params) == 0
print(time.perf_counter() - start, cpu() - before)
