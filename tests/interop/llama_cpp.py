"""llama.cpp's converters and chat templates, from the source package of llama-cpp-python.  Fetched once and kept in
~/.cache/nibble-tests, outside the repository."""
import os
import subprocess
import sys
import tarfile
import tempfile

from smollm2 import CACHE

PACKAGE = "llama-cpp-python==0.3.36"
WANTED = ("convert_", "conversion/", "gguf-py/", "models/templates/")


def llama_cpp():
    """The directory they lie in, as in llama.cpp's own."""
    out = os.path.join(CACHE, "llama.cpp-source-" + PACKAGE.split("==")[1])
    if os.path.isdir(out):
        return out
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python",
                        "-d", work, PACKAGE], check=True, stdout=sys.stderr)
        archive = next(f for f in os.listdir(work) if f.endswith(".tar.gz"))
        with tarfile.open(os.path.join(work, archive)) as t:
            top = t.next().name.split("/")[0]
            wanted = tuple(f"{top}/vendor/llama.cpp/{n}" for n in WANTED)
            t.extractall(work, [m for m in t.getmembers() if m.name.startswith(wanted)], filter="data")
        os.rename(os.path.join(work, top, "vendor", "llama.cpp"), out)
    return out
