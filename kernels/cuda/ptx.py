"""The PTX of the kernels beside this file, which is committed, and what they need on each architecture.

    python ptx.py write   # make ptx/ anew
    python ptx.py check   # compare ptx/ with what the sources give, and registers and spills with their bounds

Packages: nvidia-cuda-nvrtc-cu12==12.4.127, whose PTX (ISA 8.4) drivers of CUDA 12.4 and later take, and, for architectures
that it does not know, nvidia-cuda-nvrtc==13.0.88. No GPU is needed, and nothing of CUDA besides.
"""

import ctypes
import pathlib
import re
import site
import sys

HERE = pathlib.Path(__file__).parent
VIRTUAL = ["compute_75", "compute_80"]
OLD = ("cuda_nvrtc/lib", "12", "12.4")
NEW = ("cu13/lib", "13", "13.0")
REAL = {arch: OLD for arch in ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"]} | {arch: NEW for arch in ["sm_100", "sm_120"]}
OPTIONS = ["--std=c++17", "--fmad=false"]
# In the first comment of a source.
BOUND = re.compile(r"^// Registers: (\d+) at most\.$", re.MULTILINE)


class Nvrtc:
    """One version of the compiler."""

    def __init__(self, folder, library, builtins):
        places = [pathlib.Path(place) / "nvidia" / folder for place in site.getsitepackages()]
        found = [place for place in places if (place / f"libnvrtc.so.{library}").exists()]
        if not found:
            sys.exit(f"libnvrtc.so.{library} is not installed: see the packages at the head of {__file__}")
        ctypes.CDLL(str(found[0] / f"libnvrtc-builtins.so.{builtins}"), ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(found[0] / f"libnvrtc.so.{library}"))
        self.headers = {path.name: path.read_text() for path in sorted(HERE.glob("*.cuh"))}

    def compile(self, source, options, what):
        """`what` of a source - PTX or CUBIN - and the log."""
        texts = lambda all: (ctypes.c_char_p * len(all))(*[text.encode() for text in all])
        program = ctypes.c_void_p()
        names, bodies = texts(self.headers), texts(self.headers.values())
        text, name = source.read_text().encode(), source.name.encode()
        self.library.nvrtcCreateProgram(ctypes.byref(program), text, name, len(self.headers), bodies, names)
        options = OPTIONS + options
        code = self.library.nvrtcCompileProgram(program, len(options), texts(options))
        log = self.get(program, "ProgramLog").decode().rstrip("\0")
        if code:
            sys.exit(f"{source.name} {options}: {log}")
        return self.get(program, what), log

    def get(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw


def sources():
    return sorted(HERE.glob("*.cu"))


def ptx():
    """The text of every source for every virtual architecture, by its path."""
    compiler = Nvrtc(*OLD)
    for source in sources():
        for arch in VIRTUAL:
            text, _ = compiler.compile(source, [f"--gpu-architecture={arch}"], "PTX")
            yield HERE / "ptx" / arch / f"{source.stem}.ptx", text.decode().rstrip("\0")


def needs():
    """Of every kernel on every real architecture: source, architecture, kernel, registers, bytes that spill."""
    compilers = {version: Nvrtc(*version) for version in (OLD, NEW)}
    for source in sources():
        for arch, version in REAL.items():
            options = [f"--gpu-architecture={arch}", "--ptxas-options=-v"]
            _, log = compilers[version].compile(source, options, "CUBIN")
            for part in log.split("Compiling entry function '")[1:]:
                registers = int(re.search(r"Used (\d+) registers", part)[1])
                spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", part))
                yield source, arch, part.split("'")[0], registers, spills


def check():
    wrong = []
    texts = dict(ptx())
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            wrong.append(f"{path.relative_to(HERE)} is not what its source gives: run `python {__file__} write`")
    committed = set((HERE / "ptx").glob("*/*.ptx"))
    wrong += [f"{path.relative_to(HERE)} has no source" for path in sorted(committed - set(texts))]
    most = {}
    for source, arch, kernel, registers, spills in needs():
        bound = BOUND.search(source.read_text())
        if bound is None:
            sys.exit(f"{source.name} does not say how many registers it may use")
        most[source.stem, arch] = max(most.get((source.stem, arch), 0), registers)
        if registers > int(bound[1]) or spills:
            wrong.append(f"{kernel} on {arch}: {registers} registers, {spills} bytes spill; {bound[1]} and none are allowed")
    for stem in dict.fromkeys(stem for stem, _ in most):
        print(stem, " ".join(f"{arch}:{most[stem, arch]}" for arch in REAL))
    sys.exit("\n".join(wrong) if wrong else 0)


def write():
    for path, text in ptx():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.exit(__doc__)
    {"write": write, "check": check}[sys.argv[1]]()
