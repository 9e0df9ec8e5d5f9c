"""nibble pull against stub_hub.py.  Prints `ok NAME` or `FAILED NAME` after a line that says why."""
import base64
import glob
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(__file__))
from stub_hub import Hub, Repository, Trouble, git_sha1  # noqa: E402

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
NIBBLE = os.environ.get("NIBBLE") or os.path.join(TOP, os.environ.get("BUILD", "build"), "nibble")
WEIGHTS = bytes((i * 7 + (i >> 8) * 13) & 255 for i in range(300_000))
CONFIG = b'{"model_type": "llama"}\n'
NAME = "org/little.model-1"


class Failed(Exception):
    pass


def check(holds, message):
    if not holds:
        raise Failed(message)


def little(**more):
    files = {"config.json": CONFIG, "README.md": b"# little\n", "model.safetensors": WEIGHTS, "pytorch_model.bin": WEIGHTS[::-1],
             "sub/tokenizer.json": b"{}", "empty.txt": b"", "tf_model.h5": b"h5" * 50}
    return Repository(files, {"model.safetensors", "pytorch_model.bin", "tf_model.h5"}, **more)


def environment_of(work, **more):
    """Of this machine without what it says of hubs and proxies."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "XDG_", "TRANSFORMERS_"))
           and not k.lower().endswith("_proxy")}
    return env | {"HF_HOME": f"{work}/hf", "HOME": work, **more}


def pull(hub, work, *arguments, code=0, before=None, **environment):
    """What it printed on standard output and on standard error."""
    env = environment_of(work, **{"HF_ENDPOINT": hub.endpoint, **environment})
    done = subprocess.run([NIBBLE, "pull", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True,
                          preexec_fn=before, timeout=60)
    check(done.returncode == code, f"{arguments}: status {done.returncode}, expected {code}: {done.stderr[-1500:]}")
    return done.stdout.strip(), done.stderr


def tree(top):
    """path -> bytes, or the text of a link; without the locks."""
    found = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if f != ".locks"]
        for name in files + [f for f in folders if os.path.islink(os.path.join(folder, f))]:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, top)] = os.readlink(path)
            else:
                with open(path, "rb") as f:
                    found[os.path.relpath(path, top)] = f.read()
    return found


def blobs(work, name=NAME):
    return f"{work}/hf/hub/models--{name.replace('/', '--')}/blobs"


def layout(work):
    """The cache, file by file: what huggingface_hub would have made (tests/interop holds it to that)."""
    repository = little()
    with Hub({("models", NAME): repository}, page=3) as hub:
        path, said = pull(hub, work, NAME)
    commit, sha = repository.refs["main"], hashlib.sha256(WEIGHTS).hexdigest()
    check(path == f"{work}/hf/hub/models--org--little.model-1/snapshots/{commit}", path)
    wanted = {"refs/main": commit.encode(), f"blobs/{sha}": WEIGHTS, f"snapshots/{commit}/model.safetensors": f"../../blobs/{sha}"}
    for name in "config.json", "README.md", "sub/tokenizer.json", "empty.txt":
        data = repository.files[name]
        wanted[f"blobs/{git_sha1(data)}"] = data
        wanted[f"snapshots/{commit}/{name}"] = "../" * name.count("/") + f"../../blobs/{git_sha1(data)}"
    got = tree(f"{work}/hf/hub/models--org--little.model-1")
    check(got == wanted, f"{sorted(got)} rather than {sorted(wanted)}")
    check("left out: 2 other files" in said, said)
    with open(f"{path}/sub/tokenizer.json", "rb") as f: # the links lead somewhere
        check(f.read() == b"{}", "a nested link")


def again_fetches_nothing(work):
    with Hub({("models", NAME): little()}) as hub:
        pull(hub, work, NAME)
        hub.requests.clear()
        _, said = pull(hub, work, NAME)
        check(not hub.asked("model.safetensors") and " 0.0 MB of them fetched" in said, said)
        hub.repositories[("models", NAME)].files["config.json"] = CONFIG + b" "
        new = hub.repositories[("models", NAME)].commit("main")
        hub.requests.clear()
        path, _ = pull(hub, work, NAME)
        check(path.endswith(new) and not hub.asked("safetensors") and len(hub.asked("config.json")) == 1,
              "a new commit fetches what it changed")


def torn(work):
    """Each connection breaks after some bytes: every next one asks for the rest."""
    with Hub({("models", NAME): little()}) as hub:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        hub.trouble = {sha: Trouble(times=3, torn=70_001), "config.json": Trouble(torn=5)}
        path, _ = pull(hub, work, NAME)
        ranges = [headers.get("Range") for headers in hub.asked(sha)]
        check(ranges == [None, "bytes=70001-", "bytes=140002-", "bytes=210003-"], ranges)
        with open(f"{path}/model.safetensors", "rb") as f:
            check(f.read() == WEIGHTS, "other bytes")


def dies_and_resumes(work):
    """What is there when all tries failed is kept, and the next run asks for the rest only."""
    with Hub({("models", NAME): little()}) as hub:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        hub.trouble = {sha: Trouble(times=1, torn=100_000)}
        _, said = pull(hub, work, NAME, "--retries", "0", code=1)
        check(f"{NAME}: model.safetensors: " in said and "the same command fetches the rest" in said, said)
        check(os.path.getsize(f"{blobs(work)}/{sha}.incomplete") == 100_000, "it was not kept")
        check(not os.path.exists(f"{blobs(work)}/../refs/main"), "the branch stands at a part of a model")
        pull(hub, work, NAME)
        check(hub.asked(sha)[-1].get("Range") == "bytes=100000-", hub.asked(sha)[-1])
        with open(f"{blobs(work)}/{sha}", "rb") as f:
            check(f.read() == WEIGHTS, "other bytes")
        check(not os.path.exists(f"{blobs(work)}/{sha}.incomplete"), "the part is still there")


def killed(work):
    """SIGINT in the middle of a slow download: orderly, kept, resumed."""
    slow = threading.Event()

    class Slow(Trouble):
        def take(self):
            slow.set()
            time.sleep(0.5)
            return False

    with Hub({("models", NAME): little()}) as hub:
        hub.trouble = {hashlib.sha256(WEIGHTS).hexdigest(): Slow()}
        env = environment_of(work, HF_ENDPOINT=hub.endpoint)
        process = subprocess.Popen([NIBBLE, "pull", NAME], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        check(slow.wait(30), "it never asked")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
        check(process.returncode == 130 and "the same command fetches the rest" in said, f"{process.returncode}: {said}")
        hub.trouble = {}
        pull(hub, work, NAME)


def killed_while_hashing(work):
    """SIGINT while the bytes of an earlier run are hashed does not wait for the last of them."""
    size, sha = 4 << 30, "0" * 40
    os.makedirs(blobs(work))
    with open(f"{blobs(work)}/{sha}.incomplete", "wb") as f:
        f.truncate(size)
    with Hub({("models", NAME): little()}) as hub:
        hub.trouble = {"/tree/" + hub.repositories[("models", NAME)].refs["main"]:
                       Trouble(body=b'[{"type": "file", "path": "x", "size": %d, "oid": "%s"}]' % (size, sha.encode()))}
        process = subprocess.Popen([NIBBLE, "pull", NAME], env=environment_of(work, HF_ENDPOINT=hub.endpoint), stderr=subprocess.PIPE, text=True)
        end = time.time() + 30
        while not os.path.exists(f"{work}/hf/hub/.locks/models--org--little.model-1/{sha}.lock") and time.time() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        check(process.returncode == 130 and "the same command fetches the rest" in said, f"{process.returncode}: {said}")
        check(os.path.getsize(f"{blobs(work)}/{sha}.incomplete") == size and "does not fit" not in said, said)


def wrong_bytes(work):
    """Bytes of another hash are an error and not kept; bytes of an earlier run are fetched again once."""
    with Hub({("models", NAME): little()}) as hub:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        bad = WEIGHTS[:1000] + b"\0" + WEIGHTS[1001:]
        hub.trouble = {sha: Trouble(data=bad)}
        _, said = pull(hub, work, NAME, code=1)
        check(f"its SHA-256 is {hashlib.sha256(bad).hexdigest()}, the hub lists {sha}" in said, said)
        check(not [f for f in os.listdir(blobs(work)) if f.startswith(sha)], os.listdir(blobs(work)))
        with open(f"{blobs(work)}/{sha}.incomplete", "wb") as f:
            f.write(bad[:2000])
        hub.requests.clear()
        _, said = pull(hub, work, NAME)
        check("what an earlier run left does not fit" in said, said)
        check([h.get("Range") for h in hub.asked(sha)] == ["bytes=2000-", None], hub.asked(sha))
        hub.trouble = {"config.json": Trouble(data=CONFIG.replace(b"llama", b"lalma"))}
        _, said = pull(hub, work, NAME, HF_HOME=f"{work}/other", code=1)
        check("config.json: its git SHA-1 is" in said, said)


def servers_that_do_otherwise(work):
    """No ranges: all comes again.  Another etag, too many bytes, a part that is too long: refused or begun anew."""
    with Hub({("models", NAME): little()}) as hub:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        os.makedirs(blobs(work))
        with open(f"{blobs(work)}/{sha}.incomplete", "wb") as f:
            f.write(WEIGHTS[:5000])
        hub.trouble = {sha: Trouble(no_range=True)}
        pull(hub, work, NAME)
        hub.trouble = {sha: Trouble(times=-1, no_range=True, torn=10)}
        _, said = pull(hub, work, NAME, HF_HOME=f"{work}/2", code=1)
        check("the server sends no rest of a file" in said, said)
        hub.trouble = {"model.safetensors": Trouble(etag="0" * 64)}
        _, said = pull(hub, work, NAME, HF_HOME=f"{work}/3", code=1)
        check(f"listed it as {sha} and now sends {'0' * 64}" in said, said)
        hub.trouble = {sha: Trouble(data=WEIGHTS + b"more")}
        _, said = pull(hub, work, NAME, HF_HOME=f"{work}/4", code=1)
        check("more than the 300000 bytes that the hub listed arrive" in said, said)
        os.makedirs(f"{work}/5/hub/models--org--little.model-1/blobs")
        with open(f"{work}/5/hub/models--org--little.model-1/blobs/{sha}.incomplete", "wb") as f:
            f.write(WEIGHTS * 2)
        pull(hub, work, NAME, HF_HOME=f"{work}/5")


def token(work):
    """From $HF_TOKEN, else a file; to the endpoint only, not along a redirect; never in a message."""
    with Hub({("models", NAME): little(token="hf_secret")}) as hub:
        for name, environment in [("HF_TOKEN", {"HF_TOKEN": " hf_secret\n"}), ("HF_TOKEN_PATH", {"HF_TOKEN_PATH": f"{work}/t"}),
                                  ("HF_HOME/token", {"HF_HOME": f"{work}/home"})]:
            os.makedirs(f"{work}/home", exist_ok=True)
            for path in f"{work}/t", f"{work}/home/token":
                with open(path, "w") as f:
                    f.write("hf_secret\n")
            hub.requests.clear()
            shutil.rmtree(f"{work}/hf", ignore_errors=True)
            pull(hub, work, NAME, **environment)
            sent = {(host, headers.get("Authorization")) for _, host, _, headers in hub.requests}
            check(sent == {("hub", "Bearer hf_secret"), ("cdn", None)}, f"{name}: {sent}")
        _, said = pull(hub, work, NAME, HF_TOKEN="hf_wrong", code=1)
        check("the token that was sent does not open it" in said and "hf_wrong" not in said, said)
        _, said = pull(hub, work, NAME, HF_TOKEN="hf two", code=1)
        check("HF_TOKEN: character 3 is none of a token" in said and "two" not in said, said)
        _, said = pull(hub, work, NAME, code=1)
        check("it is private and wants a token: set HF_TOKEN, or put it into" in said, said)
        hub.requests.clear()
        _, said = pull(hub, work, NAME, HF_HOME=f"{work}/home", HF_TOKEN="hf_secret", HF_HUB_DISABLE_IMPLICIT_TOKEN="1", code=1)
        check("HF_HUB_DISABLE_IMPLICIT_TOKEN is set: none is sent" in said, said)
        check([h.get("Authorization") for *_, h in hub.requests] == [None], hub.requests)
        hub.trouble = {"/tree/" + hub.repositories[("models", NAME)].refs["main"]: Trouble(times=-1, redirect=hub.cdn_endpoint + "/api")}
        hub.requests.clear()
        pull(hub, work, NAME, HF_TOKEN="hf_secret", HF_HOME=f"{work}/x", code=1)
        check([h.get("Authorization") for _, host, _, h in hub.requests if host == "cdn"] == [None], hub.requests)


def refusals(work):
    """401, 403, 404, 429, 500, no connection, an answer that is none: each says what to do."""
    repository = little()
    with Hub({("models", NAME): repository, ("models", "org/gated"): little(token="x", gated=True)}) as hub:
        def says(part, name=NAME, **environment):
            _, said = pull(hub, work, name, "--retries", "1", code=1, **environment)
            check(part in said, f"'{part}' is not in: {said}")
            return said
        says("HTTP 401: there is no such repository, or it is private", "org/none")
        says("its owner gives access to those who ask for it on its page at http://127.0.0.1", "org/gated")
        says("HTTP 404: the repository has no such branch, tag or commit", NAME + "@nowhere")
        hub.trouble = {"config.json": Trouble(status=404, headers={"X-Error-Code": "EntryNotFound"})}
        says("config.json: HTTP 404: the file was in the list and is not there")
        hub.trouble = {"config.json": Trouble(status=429, headers={"Retry-After": "1"})}
        begun = time.time()
        _, said = pull(hub, work, NAME)
        check("HTTP 429: the hub asks to wait 1 s" in said and time.time() - begun >= 1, said)
        hub.trouble = {"/revision/main": Trouble(times=-1, status=429, headers={"Retry-After": "4000"})}
        says("HTTP 429: too many requests; the hub asks to wait 4000 s")
        hub.trouble = {"/revision/main": Trouble(times=1, status=503)}
        pull(hub, work, NAME)
        hub.trouble = {"/revision/main": Trouble(times=-1, status=500, headers={"X-Error-Message": "down\x1b[2J"})}
        says("HTTP 500: down?[2J")
        for body, part in [(b"<html>", "not JSON"), (b"{}", "its 'sha' is no commit"), (b'{"sha": "main"}', "no commit")]:
            hub.trouble = {"/revision/main": Trouble(body=body)}
            says(part)
        tree_of = "/tree/" + repository.refs["main"]
        sha = "0" * 40
        for body, part in [(b"{}", "no list of files"), (b"[1]", "entry 1 is no object"),
                           (b'[{"type": "file", "path": "../x", "size": 1, "oid": "%s"}]' % sha.encode(), "'../x' is no path"),
                           (b'[{"type": "file", "path": "/x", "size": 1, "oid": "%s"}]' % sha.encode(), "'/x' is no path"),
                           (b'[{"type": "file", "path": "x", "size": -1, "oid": "%s"}]' % sha.encode(), "size"),
                           (b'[{"type": "file", "path": "x", "size": 1, "oid": "../../x"}]', "x: no 'size', or an 'oid'"),
                           (b'[]', "there are no files in it")]:
            hub.trouble = {tree_of: Trouble(body=body)}
            says(part)
        hub.trouble = {}
        check("HF_ENDPOINT names another hub" in says("127.0.0.1", HF_ENDPOINT="http://127.0.0.1:1"), "no connection")
        says("HF_ENDPOINT: 'ftp://x' is no address of a hub", HF_ENDPOINT="ftp://x")
        says("is no name of the hub: org/name", "org/name/more")


def long_addresses(work):
    """An address of a next page that is too long to be kept is no end of the list."""
    with Hub({("models", NAME): little()}, page=3) as hub:
        for characters in 1500, 2100, 5000:
            hub.link_ending = "&x=" + "1" * characters
            _, said = pull(hub, work, NAME, code=characters > 2000)
            check(("the address of its next page has more than 2047 characters" in said) == (characters > 2000), said)
            shutil.rmtree(f"{work}/hf")
            os.mkdir(f"{work}/hf")


def offline(work):
    with Hub({("models", NAME): little()}) as hub:
        _, said = pull(hub, work, NAME, code=1, HF_HUB_OFFLINE="1")
        check("not in the cache, and HF_HUB_OFFLINE is set" in said, said)
        there, _ = pull(hub, work, NAME)
        hub.requests.clear()
        path, _ = pull(hub, work, NAME, HF_HUB_OFFLINE="yes")
        check(path == there and not hub.requests, "it asked, or found another")


def revisions(work):
    """A tag, a branch with a slash and a commit: refs/ has what is none."""
    repository = little()
    first = repository.refs["main"]
    repository.files["config.json"] = b"{}"
    second = repository.commit("refs/pr/1", "v2")
    with Hub({("models", NAME): repository}) as hub:
        for revision, commit in [("refs/pr/1", second), ("v2", second), (first, first)]:
            path, _ = pull(hub, work, f"{NAME}@{revision}")
            check(path.endswith(commit), path)
        got = tree(f"{work}/hf/hub/models--org--little.model-1/refs")
        check(got == {"refs/pr/1": second.encode(), "v2": second.encode()}, got)


def chosen(work):
    """Patterns, one form of the weights, and GGUF files by their quantization."""
    gguf = {f"m-{q}.gguf": q.encode() * 9 for q in ("Q4_K_M", "Q8_0", "Q4_K_S")} | {"mmproj-Q4_K_M.gguf": b"p", "README.md": b"r"}
    parts = {"Q6_K/m-00001-of-00002.gguf": b"1", "Q6_K/m-00002-of-00002.gguf": b"2", "m.Q4_K.gguf": b"3"}
    torch = {"config.json": b"{}", "pytorch_model-00001-of-00002.bin": b"1", "pytorch_model-00002-of-00002.bin": b"2",
             "flax_model.msgpack": b"f", "onnx/model.onnx": b"o", "original/consolidated.00.pth": b"c"}
    with Hub({("models", NAME): little(), ("models", "org/q"): Repository(gguf), ("models", "org/p"): Repository(parts),
              ("models", "org/t"): Repository(torch), ("models", "one"): Repository({"m.gguf": b"m", "README.md": b"r"})}) as hub:
        def names(name, *arguments):
            shutil.rmtree(f"{work}/hf", ignore_errors=True)
            path, _ = pull(hub, work, name, *arguments)
            top = path if os.path.isdir(path) else path[:path.index("snapshots/") + 51]
            return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, files in os.walk(top) for f in files), path
        check(names(NAME, "--include", "*.json")[0] == ["config.json", "sub/tokenizer.json"], "*.json")
        check(names(NAME, "--include", "sub/", "--include", "tf_*")[0] == ["sub/tokenizer.json", "tf_model.h5"], "folder")
        found, path = names("org/q:q4_k_m")
        check(found == ["m-Q4_K_M.gguf"] and path.endswith("/m-Q4_K_M.gguf"), f"{found} {path}")
        found, path = names("org/p@main:Q6_K")
        check(len(found) == 2 and path.endswith("Q6_K/m-00001-of-00002.gguf"), f"{found} {path}")
        check(names("org/t")[0] == sorted(torch)[0:1] + sorted(n for n in torch if n.endswith(".bin")), "torch")
        found, path = names("one")
        check(found == ["README.md", "m.gguf"] and path.endswith("/m.gguf"), f"{found} {path}")
        for arguments, part in [(("org/q",), "choose one as NAME:Q4_K_M, or with --include; there are: m-Q4_K_M.gguf, m-Q4_K_S.gguf"),
                                (("org/q:Q5_0",), "no GGUF file is of that quantization; there are: m-Q4_K_M.gguf"),
                                ((NAME + ":Q4_0",), "it has no GGUF file"),
                                ((NAME, "--include", "*.gguf"), "no file matches --include; there are: README.md, config.json"),
                                (("org/q:Q8_0", "--include", "*"), "both choose files"),
                                (("org/q:Q8_0", "--dataset"), "a data set has no quantization")]:
            _, said = pull(hub, work, *arguments, code=1)
            check(part in said, f"{arguments}: {said}")


def named_everywhere(work):
    """A model that was pulled is found by its name, a GGUF file by its quantization; one that was not names the command."""
    with Hub({("models", NAME): little(), ("models", "org/q"): Repository({"a-Q4_K_M.gguf": b"GGUF", "a-Q8_0.gguf": b"G"})}) as hub:
        pull(hub, work, NAME)
        pull(hub, work, "org/q:Q4_K_M")
        for name, files in [("org/c", {"config.json": CONFIG, "c.gguf": b"GGUF"}), ("org/deep", {"a/b/m-Q8_0.gguf": b"GGUF", "a/x.md": b""}),
                            ("org/both", {"config.json": CONFIG, "model.safetensors": b"", "x.gguf": b"G"})]:
            hub.repositories[("models", name)] = Repository(files)
            pull(hub, work, name, *(["--include", "*"] if name == "org/both" else []))
    env = environment_of(work)
    for name, part in [("org/c", "c.gguf"), ("org/deep", "a/b/m-Q8_0.gguf"), ("org/deep:Q8_0", "a/b/m-Q8_0.gguf"),
                       ("org/both", "model.safetensors"), (NAME, f"snapshots/"), ("org/q:Q4_K_M", "a-Q4_K_M.gguf"), ("org/q", "a-Q4_K_M.gguf"),
                       ("org/other", "it is fetched with: nibble pull org/other"),
                       ("org/q:Q8_0", "it is fetched with: nibble pull org/q:Q8_0")]:
        done = subprocess.run([NIBBLE, "generate", name, "--prompt", "x"], stderr=subprocess.PIPE, text=True, env=env)
        check(done.returncode == 1 and part in done.stderr, f"{name}: {done.stderr}")


def data_set(work):
    with Hub({("datasets", "org/data"): Repository({"train.jsonl": b"{}\n", "pytorch.bin": b"x"}, kind="datasets")}) as hub:
        path, _ = pull(hub, work, "org/data", "--dataset")
        check("/datasets--org--data/snapshots/" in path and sorted(os.listdir(path)) == ["pytorch.bin", "train.jsonl"], path)
        _, said = pull(hub, work, "org/data", code=1)
        check("there is no such repository" in said, said)
        check(pull(hub, work, "org/data", "--dataset", HF_HUB_OFFLINE="1")[0] == path, "offline")


def data_by_name(work):
    """--data org/name is a data set that was pulled: its README.md's configs and splits as of any folder; else the command."""
    faq = [b'{"question": "When do you open, %d?", "answer": "At nine."}\n' % i for i in range(5)]
    files = {"README.md": b"---\nconfigs:\n- config_name: a\n  default: true\n  data_files:\n  - split: train\n    path: one.jsonl\n"
                          b"  - split: test\n    path: two.jsonl\n- config_name: b\n  data_files: other/*.jsonl\n---\n",
             "one.jsonl": b"".join(faq[:3]), "two.jsonl": b"".join(faq[:2]), "other/x.jsonl": b"".join(faq)}
    repository = Repository(files, kind="datasets")
    with Hub({("datasets", "org/data"): repository}) as hub:
        path, _ = pull(hub, work, "org/data", "--dataset")
    env, model = environment_of(work), os.path.join(TOP, "models", "pico")
    def preview(*arguments, code=0):
        done = subprocess.run([NIBBLE, "preview", model, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        check(done.returncode == code, f"{arguments}: {done.stderr}")
        return done.stdout + done.stderr
    for arguments, used in [((), "1 of 3 files: one.jsonl"), (("--split", "test"), "1 of 3 files: two.jsonl"),
                            (("--dataset-config", "b"), "1 of 3 files: other/x.jsonl")]:
        said = preview("--data", "org/data", *arguments)
        check(used in said and "of the hub's cache, " in said, f"{arguments}: {said}")
    check("one.jsonl" in preview("--data", "org/data@main"), "a revision")
    for name in "org/none", "org/data@v2":
        check(f"it is fetched with: nibble pull --dataset {name}" in preview("--data", name, code=1), name)
    for name in "org/data:Q4_K_M", "none/train.jsonl", "none.jsonl":
        check("nibble pull" not in preview("--data", name, code=1), name)
    # what stands there is what a name means, and nothing is written into a snapshot
    done = subprocess.run([NIBBLE, "finetune", model, "--data", "org/data", "--output-dir", f"{path}/out", "--max-steps", "1"],
                          stderr=subprocess.PIPE, text=True, env=env)
    check(done.returncode == 1 and not os.path.exists(f"{path}/out"), done.stderr)
    done = subprocess.run([NIBBLE, "finetune", model, "--data", "org/data", "--eval-split", "test", "--output-dir", f"{work}/out",
                           "--max-steps", "2"], stderr=subprocess.PIPE, text=True, env=env)
    with open(f"{work}/out/recipe.yaml") as recipe:
        text = recipe.read()
    check(done.returncode == 0 and re.search(r'^data: "?org/data"?$', text, re.M), done.stderr + text)


def directory(work):
    """--to: files, resumed, left alone when they are the user's."""
    to = f"{work}/to"
    with Hub({("models", NAME): little()}) as hub:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        hub.trouble = {sha: Trouble(torn=1234)}
        pull(hub, work, NAME, "--to", to + "/", "--retries", "0", code=1)
        check(not os.path.exists(f"{to}/model.safetensors"), "a part under the file's name")
        hub.requests.clear()
        path, _ = pull(hub, work, NAME, "--to", to)
        check(path == to and hub.asked(sha)[-1].get("Range") == "bytes=1234-", hub.asked(sha))
        check(sorted(os.listdir(to)) == [".cache", "README.md", "config.json", "empty.txt", "model.safetensors", "sub"], os.listdir(to))
        check(not os.path.exists(f"{work}/hf/hub"), "the cache was made")
        hub.requests.clear()
        pull(hub, work, NAME, "--to", to)
        check(not hub.asked("config.json"), "it was fetched again")
        shutil.rmtree(f"{to}/.cache") # the hub's own bytes, of which nothing tells
        pull(hub, work, NAME, "--to", to)
        check(not hub.asked("config.json"), "it was fetched again")
        hub.repositories[("models", NAME)].files["config.json"] = b'{"new": 1}'
        hub.repositories[("models", NAME)].commit("main")
        pull(hub, work, NAME, "--to", to) # an earlier download: replaced
        with open(f"{to}/config.json", "rb") as f:
            check(f.read() == b'{"new": 1}', "it was not replaced")
        with open(f"{to}/config.json", "w") as f:
            f.write("mine")
        os.utime(f"{to}/config.json", (time.time() + 9, time.time() + 9))
        _, said = pull(hub, work, NAME, "--to", to, code=1)
        check("config.json: a file of yours is there, which is not the hub's" in said, said)
        with open(f"{to}/config.json") as f:
            check(f.read() == "mine", "the user's file was overwritten")
        hub.requests.clear()
        _, said = pull(hub, work, NAME, "--to", "", code=1)
        check("the directory to download to (--to) has an empty name" in said and not hub.requests, said)


def parts_in_directory(work):
    """A part beside the metadata has huggingface_hub's name, and a short one: a file's may be as long as the system allows."""
    long = "sub/" + "n" * 246
    files = Repository({"a.safetensors": WEIGHTS, long: b"long"}, {"a.safetensors"})
    sha = hashlib.sha256(WEIGHTS).hexdigest()
    short = base64.urlsafe_b64encode(hashlib.sha1(b"a.safetensors.metadata").digest()).decode()
    with Hub({("models", NAME): files}) as hub:
        part = f"{work}/to/.cache/huggingface/download/{short}.{sha}.incomplete"
        os.makedirs(os.path.dirname(part))
        with open(part, "wb") as f:
            f.write(WEIGHTS[:777])
        pull(hub, work, NAME, "--to", f"{work}/to")
        check(hub.asked(sha)[-1].get("Range") == "bytes=777-", hub.asked(sha))
        with open(f"{work}/to/{long}", "rb") as f:
            check(f.read() == b"long" and not os.path.exists(part), "the long name, or the part")


def full_disk(work):
    """No room for a whole file: what fits is kept; a write that fails names the file and the bytes."""
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    with Hub({("models", NAME): little()}) as hub:
        sha = hashlib.sha256(WEIGHTS).hexdigest()
        _, said = pull(hub, work, NAME, before=small_files, code=1)
        check(f"{sha}.incomplete: File too large; of 300000 bytes 100000 are there and stay" in said, said)
        pull(hub, work, NAME)
        check(hub.asked(sha)[-1].get("Range") == "bytes=100000-", hub.asked(sha)[-1])
        hub.trouble = {"/tree/" + hub.repositories[("models", NAME)].refs["main"]:
                       Trouble(body=b'[{"type": "file", "path": "x", "size": %d, "oid": "%s"}]' % (2**61, b"0" * 40))}
        _, said = pull(hub, work, NAME, code=1)
        check("are wanted, and its file system has" in said, said)


def two_at_once(work):
    """Two programs: one downloads, the other waits for it; and two files of the same bytes are one blob."""
    same = Repository({"a.bin": WEIGHTS, "b.bin": WEIGHTS, "c/a.bin": WEIGHTS}, {"a.bin", "b.bin", "c/a.bin"})
    with Hub({("models", NAME): same}) as hub:
        results = []

        def one():
            try:
                results.append(pull(hub, work, NAME)[0])
            except Exception as problem:
                results.append(problem)
        threads = [threading.Thread(target=one) for _ in range(2)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        check(results[0] == results[1] and isinstance(results[0], str), results)
        check(len(hub.asked(hashlib.sha256(WEIGHTS).hexdigest())) == 1, "the bytes came more than once")
        check(sorted(os.listdir(blobs(work))) == [hashlib.sha256(WEIGHTS).hexdigest()], os.listdir(blobs(work)))


def one_door(work):
    """Nobody but src/hub/http.c calls libcurl: no other verb can touch the network.  (--version asks for its version.)"""
    objects = glob.glob(os.path.join(os.path.dirname(NIBBLE), "src", "*", "*.o")) + \
        glob.glob(os.path.join(os.path.dirname(NIBBLE), "cli", "*.o"))
    check(len(objects) > 100, f"{len(objects)} object files")
    done = subprocess.run([os.environ.get("NM", "nm"), "-A", "-u", *objects], stdout=subprocess.PIPE, text=True, check=True)
    users = {os.path.basename(line.split(":")[0]) for line in done.stdout.splitlines()
             if re.search(r" (curl_(?!version)|socket$|connect$|getaddrinfo$)", line)}
    check(users == {"http.o"}, f"the network is used by {users}")


CASES = [one_door, layout, again_fetches_nothing, torn, dies_and_resumes, killed, killed_while_hashing, wrong_bytes, servers_that_do_otherwise,
         token, refusals,
         long_addresses, offline, revisions, chosen, named_everywhere, data_set, data_by_name, directory, parts_in_directory,
         full_disk, two_at_once]


def main():
    failed = 0
    for case in CASES:
        if sys.argv[1:] and case.__name__ not in sys.argv[1:]:
            continue
        try:
            with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_MEMORY_DIR") or None) as work:
                case(work)
            print(f"ok pull: {case.__name__}", flush=True)
        except Failed as problem:
            print(f"{problem}\nFAILED pull: {case.__name__}", flush=True)
            failed += 1
        except Exception:
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED pull: {case.__name__}", flush=True)
            failed += 1
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
