"""The interop scripts from one process that has loaded the reference libraries, which takes longer than most scripts.

    preloaded.py serve SOCKET        loads them, then runs what it is asked for, each script in a process forked from it
    preloaded.py ask SOCKET SCRIPT   runs SCRIPT there, with this process's output, ends with its exit status, and prints
                                     "processor SECONDS" behind it

A script that is asked for before they are loaded waits.  When the asking process ends, so does the script.  tests/run.sh
starts both; a script that measures its memory is run by itself."""
import os
import runpy
import select
import signal
import socket
import sys
import traceback

BYTES = 4096


def load():
    """What most scripts import, as they do it.  No threads may run afterwards, for a fork does not copy them."""
    import safetensors.torch  # noqa: F401
    import torch  # noqa: F401
    from peft import LoraConfig, PeftModel, get_peft_model  # noqa: F401
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401


def script_of(path, output):
    """In a process of its own: the script as its own interpreter would run it; its exit status."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv[:] = [path]
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    try:
        runpy.run_path(path, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def attend(connection):
    """Runs one script for the process at the other end, which closes it when it is stopped itself."""
    path, outputs, _, _ = socket.recv_fds(connection, BYTES, 1)
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(script_of(path.decode(), outputs[0]))
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    status = os.waitstatus_to_exitcode(status)
    if ended in ready:
        connection.send(f"{status if status >= 0 else 128 - status} {used.ru_utime + used.ru_stime:.2f}".encode())


def serve(where):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(where + ".new")
        door.listen(64)
        os.rename(where + ".new", where)  # there from the moment it can be asked
        load()
        while True:
            connection, _ = door.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                door.close()
                attend(connection)
                os._exit(0)
            connection.close()


def ask(where, path):
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(where)
        socket.send_fds(door, [path.encode()], [1])
        said = door.recv(BYTES).split()
    if not said:
        return "preloaded.py: the process that runs the scripts is gone"
    print("processor", said[1].decode())
    return int(said[0])


if __name__ == "__main__":
    sys.exit(serve(sys.argv[2]) if sys.argv[1] == "serve" else ask(sys.argv[2], sys.argv[3]))
