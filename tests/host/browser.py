"""Drives ComfyUI's page in headless Chromium as a user does: drop a workflow's file, press Run, look."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock
from playwright.sync_api import Locator, Page, TimeoutError, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# The browser itself must not use the network or need a screen. Requests to other machines fail at once and do
# not time out, as no name is resolved. (A filter in Python would handle each of the page's hundreds of files,
# and turn the browser's cache off.)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]

# No gallery of templates opens at the start; no minimap or frame rate covers a corner.
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}

NO_SETTINGS: Mapping[str, object] = {}

# Adds the call stack to the console's warnings and errors: the page's own code warns of what a pack does.
CALLERS = """() => {
    for (const kind of ['warn', 'error']) {
        const said = console[kind];
        console[kind] = (...what) => {
            const callers = new Error('said').stack.split('\\n').slice(2, 9);
            said.call(console, ...what, callers.join('\\n'));
        };
    }
}"""

DROP = """([text, name]) => {
    const files = new DataTransfer();
    files.items.add(new File([text], name, {type: 'application/json'}));
    const canvas = document.querySelector('#graph-canvas');
    for (const kind of ['dragenter', 'dragover', 'drop'])
        canvas.dispatchEvent(new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true,
                                                  clientX: 600, clientY: 400}));
}"""

# Fits the whole graph below the page's bars; returns its rectangle on the page.
FIT = """() => {
    const canvas = app.canvas, view = canvas.canvas.getBoundingClientRect();
    const bounds = app.graph._nodes.map(node => node.getBounding());
    const left = Math.min(...bounds.map(b => b[0])), top = Math.min(...bounds.map(b => b[1]));
    const width = Math.max(...bounds.map(b => b[0] + b[2])) - left;
    const height = Math.max(...bounds.map(b => b[1] + b[3])) - top;
    const scale = Math.min((view.width - 120) / width, (view.height - 250) / height);
    canvas.ds.scale = scale;
    canvas.ds.offset[0] = 80 / scale - left;
    canvas.ds.offset[1] = 180 / scale - top;
    canvas.setDirty(true, true);
    return {x: view.x + 80 - 15, y: view.y + 180 - 15,
            width: width * scale + 30, height: height * scale + 30};
}"""


def installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def chromium() -> str:
    """Return the browser's path. As root on Debian, installs it if it is missing; else raises."""
    found = installed()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        with FileLock(Path(tempfile.gettempdir()) / "comfyui-biref-chromium.lock"):  # two workers may want it
            if installed() is None:
                subprocess.run(["apt-get", "update", "-qq"], check=True)
                subprocess.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"],
                               check=True)
        found = installed()
    if found is None:
        raise FileNotFoundError("the page is tested in Chromium: install it (Debian: apt-get install "
                                "chromium)")
    return found


@contextlib.contextmanager
def open_page(address: str, said: list[str], settings: Mapping[str, object] = NO_SETTINGS) -> Iterator[Page]:
    """Open the host's page. Its console's errors and warnings are appended to `said`, with their scripts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_default_timeout(150_000)  # ms: on a busy machine the page takes more than 30 s to load
        page.on("console",
                lambda message: said.append(f"{message.type}: {message.text} ({message.location['url']})")
                if message.type in ("error", "warning") else None)
        page.add_init_script(f"({CALLERS})()")
        page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
        page.request.post(f"{address}/api/settings", data={**SETTINGS, **settings})
        page.goto(address, wait_until="domcontentloaded")
        if not usable(page):
            page.reload(wait_until="domcontentloaded")
            assert usable(page), "the page stays covered by its own overlay"
        yield page
        browser.close()


def has_nodes_2(host) -> bool:
    """Return whether the host's front end has the released Nodes 2.0; that of 0.3.75 has a draft."""
    return host.get("/system_stats")["system"]["comfyui_version"] != "0.3.75"


def usable(page: Page) -> bool:
    """Wait for the page and its default workflow; False if its start-up overlay stays.

    On a busy machine, the page may miss the end of that overlay's animation; a user would reload.
    """
    run_button(page).wait_for(timeout=150_000)
    page.wait_for_function("app.graph._nodes.length > 0", timeout=150_000)
    try:
        page.wait_for_function("!document.querySelector('.p-blockui-mask')", timeout=15_000)
    except TimeoutError:
        return False
    return True


def close_windows(page: Page) -> None:
    """Close windows over the canvas. If one stays, as may happen on a busy machine, reload the page."""
    page.keyboard.press("Escape")
    try:
        page.wait_for_function("!document.querySelector('.p-dialog-mask')", timeout=5_000)
    except TimeoutError:
        page.reload(wait_until="domcontentloaded")
        assert usable(page), "the page stays covered by its own overlay"


def of_ours(said: list[str]) -> list[str]:
    """Return the console's lines about this pack's scripts."""
    return [line for line in said if "/extensions/comfyui-biref" in line]


def run_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Run", exact=True).first


def drop(page: Page, file: Path) -> None:
    """Drop a workflow's file on the canvas, and wait until the page shows its nodes."""
    text = file.read_text(encoding="utf-8")
    page.evaluate(DROP, [text, file.name])
    page.wait_for_function("types => '' + app.graph._nodes.map(node => node.type).sort() === '' + "
                           "types.sort()",
                           arg=[node["type"] for node in json.loads(text)["nodes"]])


# Nodes that show or save something, and can run: no node before them lacks its file.
OUTPUTS = """async () => {
    const asked = (await app.graphToPrompt()).output;
    const links = number => Object.values(asked[number].inputs).filter(Array.isArray).map(([from]) => from);
    const kind = number => app.graph.getNodeById(number)?.constructor?.nodeData;
    const isLoader = number => asked[number].class_type === 'CheckpointLoaderSimple';
    const lacks = number => isLoader(number) || links(number).some(lacks);
    return Object.keys(asked).filter(number => kind(number)?.output_node && !lacks(number));
}"""


def outputs(page: Page) -> list[str]:
    """Return the nodes that show or save something when the workflow runs and need no image model."""
    return page.evaluate(OUTPUTS)


# The number of workflows that have succeeded since the first call.
ENDED = """() => {
    if (window.ended === undefined) {
        window.ended = 0;
        app.api.addEventListener('execution_success', () => window.ended++);
    }
    return window.ended;
}"""


# Whether the page shows all previews of these nodes that are on the canvas, and no node has changed its size
# since the last look.
SETTLED = """nodes => {
    const sizes = '' + app.graph._nodes.map(node => node.size);
    const still = window.sizes === sizes;
    window.sizes = sizes;
    return still && nodes.every(id => {
        const node = app.graph.getNodeById(id);
        return !app.nodeOutputs[id]?.images?.length || node?.imgs?.some(image => image.complete)
            || node?.widgets?.some(widget => widget.element?.querySelector?.('img, video'));
    });
}"""
LONGEST = 3000  # ms that previews may take to appear; what the canvas does not show never does
LOOK = 250      # ms between looks


def run(page: Page, nodes: list[str], alone: bool = False, seconds: float = 120) -> None:
    """Press Run, and wait until the page shows these nodes' results. alone: run only these nodes."""
    before = page.evaluate(ENDED)
    if alone:
        page.evaluate("nodes => app.queuePrompt(0, 1, nodes)", nodes)
    else:
        run_button(page).click()
    page.wait_for_function("([nodes, before]) => window.ended > before && nodes.every(node => "
                           "app.nodeOutputs[node])", arg=[nodes, before], timeout=1000 * seconds)
    for _ in range(LONGEST // LOOK):
        page.wait_for_timeout(LOOK)
        if page.evaluate(SETTLED, nodes):
            break


# Resolves when the page has drawn what has been asked for by now.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def picture(page: Page, file: Path) -> None:
    """Save a screenshot of the graph, without the page's bars."""
    graph = page.evaluate(FIT)
    page.evaluate(DRAWN)
    page.screenshot(path=file, type="jpeg", quality=80, clip=graph)
