"""Writes a wheel: the program, the shared library with the libraries it needs, and python/nibble.

    tools/wheel.py --version 0.1.0 --program build/nibble-shared \\
        --library build/libnibble.so.0.1.0 --out build

Libraries that manylinux (PEP 600) does not expect of a system are copied beside ours with their
licences, and patchelf has each look for the others where it lies.  The platform tag names the
newest glibc symbol that any of the files needs.  Needs ldd, readelf, strip and patchelf; the same
files give the same wheel.  Prints the wheel's name."""
import argparse
import base64
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What PEP 600 expects of every system (auditwheel's policy, as far as we need it).
SYSTEM = re.compile(r"(ld-linux.*|linux-vdso|lib(c|m|dl|rt|pthread|util|resolv|gcc_s|stdc\+\+))\.so")


def output(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def soname(path):
    return re.search(r"SONAME.*\[(.+)\]", output("readelf", "-d", path)).group(1)


def needed(library):
    """Where each library lies that is to be copied, by soname."""
    found = {}
    for line in output("ldd", library).splitlines():
        name, arrow, path = line.strip().partition(" => ")
        if SYSTEM.match(os.path.basename(name.split(" (")[0])):
            continue
        if not arrow or path.startswith("not found"):
            sys.exit(f"wheel: {library} needs {name}, which is not found")
        found[name] = path.split(" (")[0]
    return found


def licence_of(path):
    """The licence file of the Debian package that a library is of; None: not of one."""
    for name in (path, os.path.realpath(path), "/usr" + path, "/usr" + os.path.realpath(path)):
        done = subprocess.run(["dpkg", "-S", name], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, encoding="utf-8")
        if done.returncode == 0:
            package = done.stdout.split(":")[0]
            text = f"/usr/share/doc/{package}/copyright"
            return text if os.path.exists(text) else None
    return None


def glibc(files):
    """The newest version of glibc's symbols among the files, as (2, 36)."""
    versions = set()
    for path in files:
        versions |= set(re.findall(r"GLIBC_(\d+)\.(\d+)", output("readelf", "-V", path)))
    return max((int(major), int(minor)) for major, minor in versions)


def put_binary(source, to, rpath):
    shutil.copyfile(source, to)
    os.chmod(to, 0o755)
    output("strip", "--strip-unneeded", to)
    output("patchelf", "--set-rpath", rpath, to)


def fill(package, options):
    """Writes the package's folder; returns its binaries."""
    shutil.copytree(f"{TOP}/python/nibble", package,
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bin", "lib", "licences"):
        os.mkdir(f"{package}/{name}")
    own = soname(options.library)
    with open(f"{package}/__init__.py", encoding="utf-8") as file:
        text = file.read().replace("@SONAME@", own).replace("@VERSION@", options.version)
    with open(f"{package}/__init__.py", "w", encoding="utf-8") as file:
        file.write(text)
    put_binary(options.program, f"{package}/bin/nibble", "$ORIGIN/../lib")
    put_binary(options.library, f"{package}/lib/{own}", "$ORIGIN")
    for name, path in needed(options.library).items():
        put_binary(path, f"{package}/lib/{name}", "$ORIGIN")
        licence = licence_of(path)
        if not licence:
            sys.exit(f"wheel: {path}: its licence is not found; it must travel with the library "
                     "(/usr/share/doc/PACKAGE/copyright)")
        shutil.copyfile(licence, f"{package}/licences/{name}")
    shutil.copyfile(f"{TOP}/docs/third-party.md", f"{package}/licences/third-party.md")
    return [f"{package}/bin/nibble"] + glob.glob(f"{package}/lib/*")


def metadata(place, options, tag):
    os.mkdir(place)
    shutil.copyfile(f"{TOP}/LICENSE", f"{place}/LICENSE")
    with open(f"{TOP}/README.md", encoding="utf-8") as file:
        readme = file.read()
    texts = {
        "METADATA": "Metadata-Version: 2.1\nName: nibble\n"
                    f"Version: {options.version}\n"
                    "Summary: Quantize, fine-tune and run language models at low bit widths\n"
                    "License: Apache-2.0\nRequires-Python: >=3.8\n"
                    "Description-Content-Type: text/markdown\n\n" + readme,
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: nibble\nRoot-Is-Purelib: false\nTag: {tag}\n",
        "entry_points.txt": "[console_scripts]\nnibble = nibble:main\n",
    }
    for name, text in texts.items():
        with open(f"{place}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def pack(folder, wheel, record):
    """All files in a fixed order and of one date, RECORD last, with its hash of each."""
    names = sorted(os.path.relpath(os.path.join(at, name), folder)
                   for at, _, found in os.walk(folder) for name in found)
    lines = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        def put(name, content, mode):
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                content = file.read()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            lines.append(f"{name},sha256={digest.decode()},{len(content)}\n")
            runs = name.startswith("nibble/bin/")
            put(name, content, 0o755 if runs else 0o644)
        put(record, "".join(lines) + f"{record},,\n", 0o644)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("version", "program", "library", "out"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    for tool in ("ldd", "readelf", "strip", "patchelf"):
        if not shutil.which(tool):
            sys.exit(f"wheel: missing {tool}: apt-get install {tool.replace('ldd', 'libc-bin')}")
    with tempfile.TemporaryDirectory() as folder:
        binaries = fill(f"{folder}/nibble", options)
        tag = "py3-none-manylinux_%d_%d_%s" % (*glibc(binaries), platform.machine())
        info = f"nibble-{options.version}.dist-info"
        metadata(f"{folder}/{info}", options, tag)
        wheel = f"{options.out}/nibble-{options.version}-{tag}.whl"
        for old in glob.glob(f"{options.out}/nibble-*.whl"):
            os.remove(old)
        pack(folder, wheel, f"{info}/RECORD")
    print(wheel)


main()
