"""A hub on loopback that speaks as much of the Hugging Face hub's protocol as a download needs, and can
misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MB = 1_000_000

# What a user's program does; in a process of its own, because the hub's library reads its variables when
# imported.
PROGRAM = """
import json, sys
import weights

name, folder, prelude, stop = sys.argv[1:]
exec(prelude)
seen = []

def progress(done, total):
    seen.append((done, total))
    if stop and done > 0:
        raise eval(stop)("stopped by the caller")

try:
    result = {"path": str(weights.fetch(name, folder, progress=progress))}
except weights.FetchError as error:
    result = {"error": str(error)}
except BaseException as error:
    result = {"raised": f"{type(error).__name__}: {error.args[0]}"}
print(json.dumps({**result, "progress": seen}))
"""


def safetensors(megabytes: float, seed: int = 0) -> bytes:
    """A whole safetensors file with one byte tensor, different for every seed."""
    count = int(megabytes * MB)
    header = json.dumps({"x": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    body = hashlib.shake_128(bytes([seed])).digest(count)
    return len(header).to_bytes(8, "little") + header + body


@dataclass
class Hub:
    """The server's state: what it serves, how it misbehaves, and what it was asked."""

    home: Path  # where the library keeps its own files
    content: bytes = safetensors(25)
    status: int = 200  # of every answer
    announced: dict[str, str] = field(default_factory=dict)  # headers that differ from the truth
    served: bytes | None = None  # what it really sends, if not the content
    # bytes after which the first, second... body breaks off
    end_after: list[int] = field(default_factory=list)
    ranges: bool = True  # whether it can resume
    stall: str = ""  # the method ("HEAD" or "GET") that gets no further
    seconds_per_mb: float = 0.0
    port: int = 0
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def bodies(self) -> list[dict[str, str]]:
        """The headers of every request for the file's bytes."""
        return [headers for method, path, headers in self.asked if method == "GET"
                and path.startswith("/cdn/")]

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables of a process that uses this hub and no proxy, unless `variables` say otherwise."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
        return {
            **kept,
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HOME": str(self.home),
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            **variables,
        }

    def start(
        self,
        folder: Path,
        name: str = "BiRefNet",
        *,
        prelude: str = "",
        stop: str = "",
        limit: int = 0,
        **variables: str,
    ) -> subprocess.Popen:
        """A process that fetches from this hub into the folder; `limit`: the largest file it may write, in
        bytes."""
        if limit:
            prelude += "import resource; "
            prelude += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))"
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name, str(folder), prelude, stop],
            env=self.environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def fetch(self, folder: Path, name: str = "BiRefNet", **options: str | int) -> dict:
        """What such a process came to: "path", or "error" (FetchError), or "raised"; and "progress"."""
        return self.result(self.start(folder, name, **options))

    @staticmethod
    def result(process: subprocess.Popen) -> dict:
        out, err = process.communicate(timeout=50)
        assert process.returncode == 0, err
        return json.loads(out)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        url = urlsplit(self.path)  # absolute where we are the proxy
        if url.path.startswith("/api/"):  # what the library asks about itself
            return self.reply(404, {})
        self.hub.asked.append((self.command, url.path, {k.lower(): v for k, v in self.headers.items()}))
        if self.hub.stall == "HEAD":
            time.sleep(20)
        if self.hub.status != 200:
            self.reply(self.hub.status, {"X-Error-Code": "GatedRepo"} if self.hub.status == 403 else {})
        elif url.path.startswith("/cdn/"):
            self.send_body()
        else:
            # As the hub does for large files: elsewhere, with size and hash of what is there.
            elsewhere = "http://cdn.invalid" if url.netloc else f"http://localhost:{self.hub.port}"
            self.reply(302, {
                "Location": f"{elsewhere}/cdn{url.path}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(self.hub.content)),
                "X-Linked-Etag": f'"{hashlib.sha256(self.hub.content).hexdigest()}"',
                **self.hub.announced,
            })

    def reply(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def send_body(self) -> None:
        content = self.hub.content if self.hub.served is None else self.hub.served
        begin = 0
        if self.hub.ranges and "Range" in self.headers:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                return self.reply(416, {})
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = memoryview(content)[begin:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.hub.end_after:
            body, self.close_connection = body[: self.hub.end_after.pop(0)], True
        for start in range(0, len(body), MB):
            time.sleep(self.hub.seconds_per_mb)
            self.wfile.write(body[start : start + MB])
        if self.hub.stall == "GET":
            time.sleep(20)

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is what these tests are about."""


@contextlib.contextmanager
def serving(home: Path):
    """A running hub."""
    state = Hub(home)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("home")) as state:
        yield state


@pytest.fixture(scope="module")
def stalled(tmp_path_factory):
    """A fetch from a hub that never sends a byte; it takes its time, so it runs beside the module's other
    tests."""
    with serving(tmp_path_factory.mktemp("home")) as state:
        state.stall, state.end_after = "GET", [0] * 20
        process = state.start(tmp_path_factory.mktemp("stalled"))
        yield process
        process.kill()
        process.communicate()
