#!/usr/bin/env python3
"""Sends one photograph through a workflow on one ComfyUI server:  one_picture.py HOST:PORT PHOTO OUTDIR
[WORKFLOW.json]

The workflow (API form) has a node "photo" that loads the picture and a node "result" that shows or saves it.
The result becomes OUTDIR/<stem>.png, whole or not at all. Exit status 0 where it is there; a server that is
not up is waited for. Needs nothing beside Python; which photograph goes to which server is for a job runner
to say (see README).
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

PATIENCE = 600.0  # seconds that a server may be away, or need for one picture


def main(server: str, photo: str, folder: str,
         workflow: str = str(Path(__file__).with_name("remove-background.json"))
         ) -> None:
    if not server:
        raise SystemExit("expected the server's HOST:PORT, got nothing; is there a line for each job in the "
                         "list?")
    target = Path(folder) / f"{Path(photo).stem}.png"
    graph = json.loads(Path(workflow).read_text(encoding="utf-8"))
    graph["photo"]["inputs"]["image"] = upload(server, Path(photo))
    prompt = json.loads(ask(server, "/prompt", json.dumps({"prompt": graph}).encode(),
                            "application/json"))["prompt_id"]
    picture = finished(server, prompt)["outputs"]["result"]["images"][0]
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    part.write_bytes(ask(server, f"/view?{urlencode(picture)}"))
    os.replace(part, target)


def upload(server: str, photo: Path) -> str:
    """The name under which the server has the photograph: one of its own, so that no other job's takes its
    place."""
    boundary, name = secrets.token_hex(16), f"{secrets.token_hex(8)}{photo.suffix}"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body = head.encode() + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    return json.loads(ask(server, "/upload/image", body, f"multipart/form-data; boundary={boundary}"))["name"]


def finished(server: str, prompt: str) -> dict:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        told = json.loads(ask(server, f"/history/{prompt}")).get(prompt)
        if told and told["status"]["completed"]:
            return told
        if told:
            kind, details = told["status"]["messages"][-1]
            raise SystemExit(f"{server}: {details.get('exception_message', kind).strip()}")
        time.sleep(0.2)
    raise SystemExit(f"{server}: no result within {PATIENCE:.0f} s")


def ask(server: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urlopen(Request(f"http://{server}{path}", body, {"Content-Type": kind} if kind else {}),
                         timeout=PATIENCE) as answer:
                return answer.read()
        except HTTPError as error:
            text = error.read()[:500].decode(errors="replace")
            raise SystemExit(f"{server}{path}: {error} {text}") from None
        except OSError as error:  # not up, or gone in the middle
            if time.monotonic() > deadline:
                raise SystemExit(f"{server}: {error}") from None
            time.sleep(2)


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
