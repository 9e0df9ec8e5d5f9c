"""python/nibble, the package of the wheel, with PROGRAM below in place of nibble.  Prints `ok NAME` or `FAILED NAME`."""
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROGRAM = f"#!{sys.executable}" + r"""
import json, os, signal, sys, time
verb = sys.argv[1]
if verb == "echo":
    print(json.dumps(sys.argv[2:]))
elif verb == "fail":
    os.write(2, b"first\ncut \xe2\x80 here\n")
    sys.exit(1)
elif verb == "generate":
    sys.stdout.buffer.write(b'{"completion": "a\xe2\x80\xa8b\xc2\x85c"}\n')
elif verb == "finetune":
    print('{"loss": 2}\n{"plan": 1}\n{"warnings": [{"code": "x"}]}')
elif verb == "wait":
    signals = []
    signal.signal(signal.SIGINT, lambda *_: signals.append(1))
    print("ready", flush=True)
    for _ in range(3):
        time.sleep(0.1)
    with open(sys.argv[-1], "w") as file:
        file.write(str(len(signals)))
"""


def options(nibble, _):
    """A dict is JSON."""
    got = nibble.run("echo", "m", chat_template_kwargs={"enable_thinking": False}, stop=["a", "b"], json=True, chat=False, top_k=None)
    wanted = '["--chat-template-kwargs={\\"enable_thinking\\": false}", "--stop=a", "--stop=b", "--json", "--no-chat", "--", "m"]\n'
    assert got == wanted, got


def cut_message(nibble, _):
    """Bytes that are no UTF-8 in a message."""
    try:
        nibble.run("fail")
    except nibble.Error as error:
        assert str(error) == "cut \ufffd here" and error.status == 1, error
    else:
        raise AssertionError("no error")


def line_ends_in_answers(nibble, _):
    """Unicode's other ends of lines, which JSON allows inside a text."""
    assert nibble.generate("m", "x") == "a\u2028b\x85c"


def warnings_last(nibble, _):
    """A line of warnings only is not the result."""
    got = nibble.finetune("m", dry_run=True)
    assert got == {"plan": 1, "log": [{"loss": 2}, {"warnings": [{"code": "x"}]}]}, got


def one_interrupt(_, work):
    """A terminal's Ctrl-C, to the whole process group, is one signal for the program."""
    code = ("import os, signal, nibble, sys\n"
            "try: nibble.run('wait', sys.argv[1], on_line=lambda _: os.killpg(0, signal.SIGINT))\n"
            "except KeyboardInterrupt: sys.exit(7)\n")
    done = subprocess.run([sys.executable, "-c", code, f"{work}/signals"], env={**os.environ, "PYTHONPATH": work}, start_new_session=True,
                          timeout=60)
    with open(f"{work}/signals") as file:
        signals = file.read()
    assert done.returncode == 7 and signals == "1", (done.returncode, signals)


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(f"{TOP}/python/nibble", f"{work}/nibble", ignore=shutil.ignore_patterns("__pycache__"))
        os.mkdir(f"{work}/nibble/bin")
        with open(f"{work}/nibble/bin/nibble", "w") as file:
            file.write(PROGRAM)
        os.chmod(f"{work}/nibble/bin/nibble", 0o755)
        sys.path.insert(0, work)
        import nibble
        for case in options, cut_message, line_ends_in_answers, warnings_last, one_interrupt:
            try:
                case(nibble, work)
                print(f"ok package: {case.__name__}", flush=True)
            except AssertionError as problem:
                print(f"{problem}\nFAILED package: {case.__name__}", flush=True)
                failed += 1
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
