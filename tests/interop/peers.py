"""What the checks share: how a check is skipped, and llama.cpp as a function from ids to logits."""
import contextlib
import importlib
import sys
from pathlib import Path

SKIPPED = 77  # the exit status that the Rust side reads as "skipped"


def require(*names):
    """Import packages; without one of them the check is skipped, not failed."""
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ImportError as e:
            print(f"skipped: {e}; pip install -r tests/interop/requirements.txt")
            sys.exit(SKIPPED)
    return found if len(found) > 1 else found[0]


@contextlib.contextmanager
def model(path, context=512, exact=False, **options):
    """A file in llama.cpp. `exact` keeps keys and values as F32, since F16 costs three digits."""
    llama_cpp = require("llama_cpp")
    # The binding's own defaults would replace what the file says of YaRN; -1 means: from the file.
    options |= {f"yarn_{key}": -1.0 for key in ("ext_factor", "attn_factor", "beta_fast", "beta_slow")}
    if exact:
        options |= {"type_k": 0, "type_v": 0}
    without_amx(llama_cpp.llama_cpp)
    llm = llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, n_threads=2, n_threads_batch=2,
                          verbose=False, **options)
    try:
        yield llm
    finally:
        llm.close()


def without_amx(binding):
    """llama.cpp's products by AMX crash (ggml-org/llama.cpp issue 20824): on CPUs that have it, its others are used. The
    binding's class has no option for it, so it gets other defaults."""
    cpu = Path("/proc/cpuinfo")
    if _PATCHED or not (cpu.exists() and " amx_tile" in cpu.read_text()):
        return
    _PATCHED.append(binding.llama_model_default_params)

    def defaults():
        params = _PATCHED[0]()
        params.use_extra_bufts = False
        return params

    binding.llama_model_default_params = defaults


_PATCHED = []


def quantize(source, out, ftype, imatrix=None):
    """llama-quantize SOURCE OUT FTYPE; `imatrix` is an array of llama_model_imatrix_data, the last one empty."""
    llama_cpp = require("llama_cpp")
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, None)
    _KEPT.append(quiet)  # ctypes needs it to stay alive
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype, p.nthread = ftype, 2
    if imatrix is not None:
        p.imatrix = imatrix
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), p) == 0


_KEPT = []


def logits(llm, ids, first=0):
    """Logits of every position from `first` on in F64; `llm` needs `logits_all`."""
    np = require("numpy")
    llm.reset()
    llm.eval([int(i) for i in ids])
    return np.array(llm.scores[first: len(ids)], np.float64)


def tokenize(llm, text):
    """Ids of bytes, taken as plain text, with nothing put in front."""
    return llm.tokenize(text, add_bos=False, special=False)


def log_softmax(x):
    np = require("numpy")
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
