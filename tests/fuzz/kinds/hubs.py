"""A hub that answers nonsense: wrong sizes and hashes, odd headers, pages, redirects in circles, too much,
too little."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from pathlib import Path

from .kind import Kind

CONTENT = (
    len(b'{"x":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}').to_bytes(8, "little")
    + b'{"x":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}'
    + bytes(64)
)
HASH = hashlib.sha256(CONTENT).hexdigest()


def refusals() -> tuple[type[BaseException], ...]:
    from weights import FetchError

    return (FetchError,)


def answers():
    from hypothesis import strategies as st

    odd = st.one_of(
        st.sampled_from(
            [
                "",
                "0",
                "-1",
                "1",
                str(len(CONTENT)),
                str(len(CONTENT) - 1),
                "9" * 18,
                "9" * 400,
                "1e3",
                "nan",
                HASH,
                f'"{HASH}"',
                f'W/"{HASH}"',
                HASH.upper(),
                "0" * 64,
                '"' + "a" * 40 + '"',
                "é",
                "main",
                "../../x",
                "a b",
                "x" * 9000,
            ]
        ),
        st.text("abc01\"' /.:;%", max_size=12),
    )
    location = st.sampled_from(
        [
            "/cdn",
            "/again",
            "http://127.0.0.1:1/",
            "file:///etc/hostname",
            "//",
            "",
            "/" + "x" * 9000,
            "ftp://127.0.0.1/",
            "data:,x",
            "/cdn?\r",
        ]
    )
    names = [
        "X-Linked-Size",
        "X-Linked-Etag",
        "X-Repo-Commit",
        "ETag",
        "Content-Length",
        "Content-Type",
        "Content-Range",
        "Content-Encoding",
        "X-Error-Code",
        "Retry-After",
        "Transfer-Encoding",
        "Link",
        "X-Xet-Hash",
    ]
    body = st.sampled_from(
        [
            b"",
            CONTENT,
            CONTENT,
            CONTENT,
            CONTENT[:-1],
            CONTENT + b"x",
            CONTENT[:20],
            b"<html>Sign in</html>",
            bytes(len(CONTENT)),
            bytes(100_000),
        ]
    )
    status = st.sampled_from(
        [200, 200, 200, 206, 204, 301, 302, 302, 304, 307, 400, 401, 403, 404, 410, 416, 418, 451, 600, 99]
    )
    answer = st.tuples(status, st.dictionaries(st.sampled_from(names), odd, max_size=2), location, body)
    return st.tuples(answer, answer, st.booleans())


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every question for the file as `case` says: what there is (HEAD), and its bytes (GET /cdn…)."""

    protocol_version = "HTTP/1.1"
    case: tuple = ()

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        told, sent, honest = Handler.case
        status, headers, location, body = sent if self.command == "GET" else told
        if self.command == "HEAD" and not self.path.startswith("/cdn"):
            headers = {
                "X-Linked-Size": str(len(CONTENT)),
                "X-Linked-Etag": f'"{HASH}"',
                "X-Repo-Commit": "0" * 40,
            } | headers
        if honest and self.command == "GET":
            status, body = 200, CONTENT
        headers = {"Content-Length": str(len(body))} | headers
        if 300 <= status < 400:
            headers["Location"] = location
        try:
            self.send_response(status, "")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
        except (OSError, ValueError):  # it hung up, or this answer cannot be sent
            pass
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""


def start(folder: Path):
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    for name in [name for name in os.environ if "proxy" in name.lower() or name.startswith("HF_")]:
        del os.environ[name]
    os.environ |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_ETAG_TIMEOUT": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    import logging

    import weights

    logging.disable()
    models = folder / "models"

    def fetch(case: tuple) -> None:
        Handler.case = case
        path = weights.fetch("BiRefNet", models)
        assert path == models / "BiRefNet.safetensors" and path.read_bytes() == CONTENT
        path.unlink()

    def run(case: tuple) -> None:
        try:
            fetch(case)
        finally:
            left = {file.name for file in models.iterdir()} if models.exists() else set()
        assert all(name.endswith((".partial", ".lock")) for name in left), left

    return run


KINDS = (
    Kind("hub answers", "a hub on this machine that answers nonsense", 0.7, start, refusals, answers,
         loopback=True),
)
