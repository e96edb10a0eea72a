"""Runs a real ComfyUI in its own process, with this pack in custom_nodes, and drives it over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import secrets
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import numpy as np
from PIL import Image

PACK = Path(__file__).resolve().parents[2]
# Packs that only this host has.
FOR_TESTS = [Path(__file__).resolve().parent / name for name in ("odd_inputs", "fuzzed_nodes")]

Workflow = dict[str, dict]


class Refused(Exception):
    """The host refused to queue a workflow; `str()` is the body of its answer."""


class Host:
    """One ComfyUI on the CPU. `base` is its --base-directory: models, input and output lie under it.

        with Host(comfyui, base, python) as host:
            record = host.run(workflow)          # the history entry, once the workflow is over
            picture = host.pictures(record)[0]   # PIL image
    """

    def __init__(self, comfyui: Path, base: Path, python: str):
        self.comfyui, self.base, self.python = comfyui, base, python
        self.elsewhere = base / "checkpoints"  # a BiRefNet folder that extra_model_paths.yaml names
        self.removal = base / "cutters"        # the same for core's folder background_removal
        self.address = ""
        self._log = base / "host.log"
        self._process: subprocess.Popen | None = None

    # -- start and stop --------------------------------------------------------------------------------------
    def __enter__(self) -> Host:
        nodes = self.base / "custom_nodes"
        for folder in (nodes, self.base / "models" / "BiRefNet", self.base / "input", self.elsewhere):
            folder.mkdir(parents=True, exist_ok=True)
        paths = self.base / "extra_model_paths.yaml"
        paths.write_text(f"another_disk:\n  base_path: {self.base}\n  BiRefNet: {self.elsewhere.name}\n"
                         f"  background_removal: {self.removal.name}\n")
        (nodes / "comfyui-biref").symlink_to(PACK, target_is_directory=True)
        for pack in FOR_TESTS:
            (nodes / pack.name).symlink_to(pack, target_is_directory=True)
        # A new base directory lacks example.png, which a plain installation has.
        example = Path("input", "example.png")
        (self.base / example).write_bytes((self.comfyui / example).read_bytes())
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = [self.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port),
                   "--disable-auto-launch", "--base-directory", str(self.base), "--database-url",
                   "sqlite:///:memory:",
                   "--extra-model-paths-config", str(paths)]
        # Another front end than the one installed for `python`.
        if front_end := os.environ.get("COMFYUI_FRONT_END"):
            command += ["--front-end-root", front_end]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self.comfyui, stdout=log, stderr=subprocess.STDOUT,
                                             stdin=subprocess.DEVNULL, start_new_session=True,
                                             env=os.environ
                                             | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"})
        try:
            self._until(self._answers, 400, "answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.get("/system_stats"))
        return False

    def _until(self, done: Callable[[], object], seconds: float, what: str):
        """Wait until `done` returns something true, and return it.

        Raises:
            RuntimeError, TimeoutError: the host ended, or it took too long; with the end of the log.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if result := done():
                return result
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {self._process.returncode}:\n{self.log()[-3000:]}")
            time.sleep(0.05)
        raise TimeoutError(f"ComfyUI did not {what} within {seconds:.0f} s:\n{self.log()[-3000:]}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @contextlib.contextmanager
    def peak_memory(self):
        """Yield a function that returns the block's peak memory above that at its start, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status")

        def read(key: str) -> float:
            return next(int(line.split()[1]) for line in status.read_text().splitlines()
                        if line.startswith(key)) / 1024

        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")  # resets the high-water mark
        before = read("VmRSS")
        yield lambda: read("VmHWM") - before

    # -- its API ---------------------------------------------------------------------------------------------
    def fetch(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """Return the body of the host's answer to a GET, or to a POST if there is data."""
        request = urllib.request.Request(self.address + path, data,
                                         {"Content-Type": kind} if data is not None else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def get(self, path: str):
        return json.loads(self.fetch(path))

    def object_info(self) -> dict[str, dict]:
        return self.get("/object_info")

    def upload(self, file: Path) -> str:
        """Upload a picture to the host's input folder as the page does; return its name for LoadImage."""
        mark = uuid.uuid4().hex
        body = (f'--{mark}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--{mark}\r\n'
                f'Content-Disposition: form-data; name="image"; filename="{file.name}"\r\n\r\n').encode()
        body += file.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        return json.loads(self.fetch("/upload/image", body, f"multipart/form-data; boundary={mark}"))["name"]

    def queue(self, workflow: Workflow, client: str = "tests") -> str:
        """Queue a workflow and return its id; raises `Refused` if the host does not accept it."""
        try:
            answer = self.fetch("/prompt", json.dumps({"prompt": workflow, "client_id": client}).encode())
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from None
        return json.loads(answer)["prompt_id"]

    def wait(self, prompt: str, seconds: float = 300) -> dict:
        return self._until(lambda: self.get(f"/history/{prompt}").get(prompt), seconds, "finish the workflow")

    def run(self, workflow: Workflow, seconds: float = 300) -> dict:
        """Run a workflow that must succeed; return its history entry."""
        return self.succeed(self.queue(workflow), seconds)

    def succeed(self, prompt: str, seconds: float = 300) -> dict:
        """Wait for a queued workflow that must succeed; return its history entry."""
        record = self.wait(prompt, seconds)
        assert record["status"]["status_str"] == "success", f"{error_of(record)}\n{self.log()[-5000:]}"
        return record

    def fail(self, workflow: Workflow) -> str:
        """Run a workflow that must fail; return the message that its user reads."""
        try:
            prompt = self.queue(workflow)
        except Refused as refusal:
            return str(refusal)
        record = self.wait(prompt)
        assert record["status"]["status_str"] == "error", f"succeeded: {record['outputs']}"
        return error_of(record)

    def pictures(self, record: dict) -> dict[str, list[Image.Image]]:
        """Return every picture that a finished workflow shows or saved, by node."""
        shown = {node: [item for item in outputs.get("images", []) if "filename" in item]
                 for node, outputs in record["outputs"].items()}
        return {node: [Image.open(io.BytesIO(self.fetch("/view?" + urllib.parse.urlencode(item))))
                       for item in items]
                for node, items in shown.items() if items}

    def texts(self, record: dict) -> list[str]:
        """Return every text that a finished workflow shows on its nodes."""
        return [text for outputs in record["outputs"].values() for text in outputs.get("text", [])]

    def watch(self, workflow: Workflow, on_event: Callable[[str, dict], None], seconds: float = 300) -> dict:
        """Run a workflow, and call `on_event(type, data)` for each event that the page would receive.

        Returns:
            Its history entry, whether it succeeded or not.
        """
        return asyncio.run(asyncio.wait_for(self._watch(workflow, on_event), seconds))

    async def _watch(self, workflow: Workflow, on_event: Callable[[str, dict], None]) -> dict:
        client = uuid.uuid4().hex
        async with aiohttp.ClientSession() as session, \
                session.ws_connect(f"{self.address}/ws?clientId={client}", max_msg_size=0) as socket_:
            prompt = await asyncio.to_thread(self.queue, workflow, client)
            async for event, data in _events(socket_):
                await asyncio.to_thread(on_event, event, data)
                if event in ("execution_success", "execution_error", "execution_interrupted"):
                    break
        return await asyncio.to_thread(self.wait, prompt)

    @contextlib.contextmanager
    def listening(self, client: str) -> Iterator[list[tuple[str, dict]]]:
        """Yield a list that fills with the events that a page of that client receives."""
        heard, connected, over = [], threading.Event(), threading.Event()

        async def listen() -> None:
            async with aiohttp.ClientSession() as session, \
                    session.ws_connect(f"{self.address}/ws?clientId={client}", max_msg_size=0) as socket_:
                reading = asyncio.ensure_future(self._gather(socket_, heard))
                connected.set()
                await asyncio.to_thread(over.wait)
                await asyncio.sleep(0.3)  # for events that are still on their way
                reading.cancel()

        thread = threading.Thread(target=lambda: asyncio.run(listen()))
        thread.start()
        try:
            assert connected.wait(30)
            yield heard
        finally:
            over.set()
            thread.join()

    @staticmethod
    async def _gather(socket_: aiohttp.ClientWebSocketResponse, heard: list[tuple[str, dict]]) -> None:
        async for event in _events(socket_):
            heard.append(event)

    def clear_history(self) -> None:
        """Forget all workflows that ran."""
        self.fetch("/history", json.dumps({"clear": True}).encode())

    def interrupt(self) -> None:
        self.fetch("/interrupt", b"")

    @contextlib.contextmanager
    def waiting(self, name: str, seconds: float) -> Iterator[None]:
        """Inside the block, a wait of the pack's memory module (STALE_SECONDS, TRIM_SECONDS) is another."""
        def change(to: float) -> float:
            record = self.run({"wait": {"class_type": "SetSeconds", "inputs": {"name": name, "seconds": to}}})
            return float(self.texts(record)[0])

        before = change(seconds)
        try:
            yield
        finally:
            change(before)

    def free(self) -> None:
        """Make the host drop its cached results and unload its models before the next workflow."""
        self.fetch("/free", b'{"unload_models": true, "free_memory": true}')
        # It does so before or after the next workflow, whichever comes first: so run one without a model.
        self.run({"nothing": {"class_type": "EmptyImage",
                              "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
                  "shown": {"class_type": "PreviewImage", "inputs": {"images": ["nothing", 0]}}})


def free_port() -> int:
    """Return a free port for a server that is about to start.

    It is below the range from which the system assigns ports to connections (on Linux from 32768): another
    test's connection might be assigned it meanwhile.
    """
    while True:
        port = secrets.choice(range(20_000, 32_768))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def _events(socket_: aiohttp.ClientWebSocketResponse) -> AsyncIterator[tuple[str, dict]]:
    async for message in socket_:
        if message.type is aiohttp.WSMsgType.TEXT:
            event = json.loads(message.data)
            yield "line" if event["type"] == "biref.line" else event["type"], event["data"]


def error_of(record: dict) -> str:
    """Return the error message of a failed workflow as its user reads it, with the node's type."""
    for event, data in record["status"]["messages"]:
        if event == "execution_error":
            return f"{data['node_type']}: {data['exception_type']}: {data['exception_message']}"
        if event == "execution_interrupted":
            return "interrupted"
    return ""


def values(picture: Image.Image, channel: int | None = None) -> np.ndarray:
    """Return a picture as float32 [H,W] or [H,W,C] in 0..1; only one channel if named."""
    array = np.asarray(picture, dtype=np.float32) / 255
    return array if channel is None else array[..., channel]


def iou(mask: np.ndarray, known: np.ndarray) -> float:
    """Return the intersection over union of two masks, each thresholded at 1/2."""
    a, b = mask > 0.5, known > 0.5
    return float((a & b).sum() / max((a | b).sum(), 1))
