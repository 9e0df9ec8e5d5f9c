"""nibble pull beside huggingface_hub, both against the same hub on this machine (tests/hub/stub_hub.py): the caches are the
same file by file, what one downloads the other finds, and nibble continues what the other left."""
import hashlib
import os
import stat
import subprocess
import sys
import tempfile

from common import NIBBLE, PYTHON5, TOP, check, main

sys.path.insert(0, os.path.join(TOP, "tests", "hub"))
from stub_hub import Hub, Repository, Trouble  # noqa: E402

NAME = "org/little"
PYTHONS = [sys.executable] + [python for python in [PYTHON5] if os.path.exists(python)]
BIG = bytes((i * 7 + (i >> 8)) & 255 for i in range(200_000))
FILES = {"config.json": b'{"model_type": "llama", "hidden_size": 8}', "a/b/deep.txt": b"deep", "a/deep.txt": b"deep", "empty": b"",
         "with blank + plus.txt": b"odd", "model.safetensors": BIG, "a/model.bin": BIG, "other.bin": BIG[::-1]}
LFS = {"model.safetensors", "a/model.bin", "other.bin"}


def hub(**more):
    return Hub({("models", NAME): Repository(FILES, LFS, **more), ("datasets", NAME): Repository(FILES, LFS, kind="datasets")}, page=4)


def environment(hub, home, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    return env | {"HF_HOME": home, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
                  "HF_HUB_DISABLE_XET": "1", **more}


def client(python, hub, home, call, code=0, **more):
    """`call` of huggingface_hub in a process of its own, which reads the environment when it begins."""
    program = f"import huggingface_hub as h\nfrom huggingface_hub import constants\nconstants.DOWNLOAD_CHUNK_SIZE = 1000\nprint(h.{call})"
    done = subprocess.run([python, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment(hub, home, **more))
    check((done.returncode != 0) == (code != 0), f"{call}: {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout.strip()


def pull(hub, home, *arguments, code=0, **more):
    done = subprocess.run([NIBBLE, "pull", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment(hub, home, **more))
    check(done.returncode == code, f"{arguments}: {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout.strip()


def tree(top):
    """path -> kind and mode, and the bytes or the text of a link.  Without locks, and without trees/, the newer
    huggingface_hub's own copy of the listing."""
    found = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if f not in (".locks", "trees")]
        for name in files + folders:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            text = os.readlink(path) if stat.S_ISLNK(info.st_mode) else open(path, "rb").read() if stat.S_ISREG(info.st_mode) else None
            found[os.path.relpath(path, top)] = oct(info.st_mode), text
    return found


def gets_of_files(hub):
    return [(host, path) for verb, host, path, _ in hub.requests if verb == "GET" and ("resolve" in path or host == "cdn")]


def caches_are_the_same():
    for python in PYTHONS:
        for kind, arguments, revision in [("model", (), "main"), ("model", (), "v1"), ("dataset", ("--dataset",), "main")]:
            with hub() as h, tempfile.TemporaryDirectory() as work:
                for repository in h.repositories.values():
                    repository.commit("v1")
                theirs = client(python, h, f"{work}/a", f"snapshot_download('{NAME}', repo_type='{kind}', revision='{revision}')")
                ours = pull(h, f"{work}/b", f"{NAME}@{revision}", "--include", "*", *arguments)
                check(os.path.relpath(theirs, f"{work}/a") == os.path.relpath(ours, f"{work}/b"), f"{theirs} and {ours}")
                a, b = (tree(f"{work}/{x}/hub/{kind}s--org--little") for x in "ab")
                check(a == b, f"{python}: {kind}@{revision}: {[k for k in {*a, *b} if a.get(k) != b.get(k)]}")


def theirs_is_found():
    for python in PYTHONS:
        with hub() as h, tempfile.TemporaryDirectory() as work:
            theirs = client(python, h, work, f"snapshot_download('{NAME}')")
            check(pull(h, work, NAME, HF_HUB_OFFLINE="1") == theirs, "offline")
            h.requests.clear()
            check(pull(h, work, NAME, "--include", "*") == theirs and not gets_of_files(h), gets_of_files(h))


def ours_is_found():
    for python in PYTHONS:
        with hub() as h, tempfile.TemporaryDirectory() as work:
            ours = pull(h, work, NAME, "--include", "*")
            check(client(python, h, work, f"snapshot_download('{NAME}', local_files_only=True)") == ours, "offline")
            h.requests.clear()
            check(client(python, h, work, f"snapshot_download('{NAME}')") == ours and not gets_of_files(h), gets_of_files(h))
            check(client(python, h, work, f"hf_hub_download('{NAME}', 'a/b/deep.txt')") == f"{ours}/a/b/deep.txt", "one file")


def what_it_left_is_continued():
    """Of the older client: the newer one removes what it could not finish."""
    with hub() as h, tempfile.TemporaryDirectory() as work:
        sha = hashlib.sha256(BIG[::-1]).hexdigest()
        h.trouble = {sha: Trouble(times=-1, torn=9000)}
        client(sys.executable, h, work, f"hf_hub_download('{NAME}', 'other.bin')", code=1)
        part = os.path.getsize(f"{work}/hub/models--org--little/blobs/{sha}.incomplete")
        check(0 < part < len(BIG), f"{part} bytes were left")
        h.trouble = {}
        h.requests.clear()
        ours = pull(h, work, NAME, "--include", "other.bin")
        check([x["Range"] for x in h.asked(sha)] == [f"bytes={part}-"], h.asked(sha))
        check(open(f"{ours}/other.bin", "rb").read() == BIG[::-1], "other bytes")


def directories():
    """local_dir: nothing is fetched twice, whoever came first."""
    for python in PYTHONS:
        with hub() as h, tempfile.TemporaryDirectory() as work:
            client(python, h, work, f"snapshot_download('{NAME}', local_dir='{work}/a')")
            h.requests.clear()
            pull(h, work, NAME, "--include", "*", "--to", f"{work}/a")
            check(not gets_of_files(h), gets_of_files(h))
            pull(h, work, NAME, "--include", "*", "--to", f"{work}/b")
            h.requests.clear()
            client(python, h, work, f"snapshot_download('{NAME}', local_dir='{work}/b')")
            check(not gets_of_files(h), gets_of_files(h))
            a, b = (tree(f"{work}/{x}") for x in "ab")
            a, b = ({k: v for k, v in x.items() if not k.startswith(".cache")} for x in (a, b))
            check(a == b, f"{[k for k in {*a, *b} if a.get(k) != b.get(k)]}")


def token():
    """The token that `hf auth login` keeps opens the same repositories."""
    with hub(token="hf_x") as h, tempfile.TemporaryDirectory() as work:
        with open(f"{work}/token", "w") as f:
            f.write("hf_x")
        check(client(sys.executable, h, work, f"snapshot_download('{NAME}')") == pull(h, work, NAME), "other places")


if __name__ == "__main__":
    main([("hub: " + f.__name__, f) for f in (caches_are_the_same, theirs_is_found, ours_is_found, what_it_left_is_continued,
                                              directories, token)])
