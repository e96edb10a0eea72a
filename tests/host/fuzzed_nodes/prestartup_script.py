"""Runs before the host imports any pack: records what this one starts, contacts or writes at its import."""

import os
import sys
import types

PACK = f"custom_nodes{os.sep}comfyui-biref{os.sep}"
STARTS = {
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
}

watch = sys.modules["import_watch"] = types.ModuleType("import_watch")
watch.heard, watch.imported = [], 0


def ours(frame):
    """Return whether code of the pack is running, at import and not in a call by the host."""
    names = []
    while frame:
        if PACK in frame.f_code.co_filename:
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return "<module>" in names


def hear(event, args):
    if event == "import" and ours(sys._getframe(1)):
        watch.imported += 1
    written = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR
                                             | os.O_CREAT) and "__pycache__" not in str(args[0])
    if (event in STARTS or written) and ours(sys._getframe(1)):
        watch.heard.append([event, str(args)[:200]])


sys.addaudithook(hear)
