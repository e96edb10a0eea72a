"""Which room may import which, and what never happens at import.

The floors, from the ground up. The two wings, pixels and network, know nothing of each other; they meet in
`matting`.

    files  device                            the ground: bytes, hardware
    imaging  masks  composite                pixels: know no network
    network  checkpoint                      the network: knows no picture files
    matting                                  where both meet
    video  data  evaluation  training        what is built on it
    export
    cli                  nodes  nodes/host   the two doors
    tools                                    the maintainers' workshop, which nothing else imports
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TREES = ("birefnet", "nodes", "weights", "tools")
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "execution", "server",
        "node_helpers"}
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
           for path in [ROOT / "__init__.py",
                        *(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))]}

GROUND = {"files", "device"}
PIXELS = {"imaging", "masks", "composite"}
NETWORK = {"network", "checkpoint"}
LIBRARY = GROUND | PIXELS | NETWORK | {"matting", "video", "data", "evaluation", "training",
                                         "export"}
# room → the rooms that it may import; "birefnet" is the package's own __init__, the names of its public
# interface.
MAY_IMPORT = {
    "files": set(),
    "device": set(),
    "imaging": {"files"},
    "masks": {"files", "imaging"},
    "composite": {"imaging", "masks"},
    "network": GROUND,
    "checkpoint": GROUND | {"network"},
    "matting": GROUND | PIXELS | {"network"},
    "video": GROUND | PIXELS | {"matting"},
    "data": GROUND | {"imaging", "matting"},
    "evaluation": {"files", "imaging", "data"},
    "training": GROUND | PIXELS | NETWORK | {"matting", "data", "evaluation"},
    "export": GROUND | PIXELS | NETWORK | {"matting"},
    "cli": LIBRARY | {"birefnet", "weights"},
    "birefnet": {"cli"},  # __main__
    "weights": set(),
    "nodes/host": LIBRARY | {"birefnet", "weights"},
    "nodes": LIBRARY | {"birefnet", "weights", "nodes/host"},
    "": {"nodes"},
    "tools/bench": LIBRARY | {"birefnet", "weights", "cli"},
    "tools/nano": LIBRARY | {"birefnet", "weights", "cli"},
    "tools/subject": LIBRARY | {"birefnet", "weights", "tools/nano"},
    "tools": set(),
}
BESIDE = 4  # modules directly in birefnet/, beside __init__ and __main__


@dataclass(frozen=True)
class Import:
    """One imported name: the dotted path as a tuple from the pack's root or the package's name on."""

    path: tuple[str, ...]
    relative: bool
    at_import: bool  # in the module's body, not in a function

    @property
    def package(self) -> str:
        return self.path[0] if self.path else ""


def read_imports(name: str) -> set[Import]:
    """Everything that a file imports, wherever in the file; imports for type hints alone are left out."""
    found = set()

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            at_import = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(Import(tuple(alias.name.split(".")), False, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = Path(name).parts[:-node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            found.update(Import((*base, alias.name), bool(node.level), at_import) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, at_import)

    visit(ast.parse(SOURCES[name]), True)
    return found


@functools.cache
def imports() -> dict[str, set[Import]]:
    """File → what it imports; read when a test asks, as both workers collect this file and one runs it."""
    return {name: read_imports(name) for name in SOURCES}


def room(name: str) -> str:
    """The room of a file: `birefnet/masks/trimap.py` → "masks", `nodes/host/clip.py` → "nodes/host"."""
    tree, *below = Path(name).parts[:-1] or ("",)
    if tree == "birefnet":
        return below[0] if below else tree
    return "/".join((tree, *below))


def file_of(path: tuple[str, ...]) -> str | None:
    """The file of this repository that a dotted path names: a module, or a package's __init__."""
    files = ("/".join((*path, "__init__.py")), "/".join(path) + ".py") if path else ()
    return next((file for file in files if file in SOURCES), None)


def targets(name: str) -> set[str]:
    """The files of this repository that a file imports. `from package import word` may mean the package's
    function as well as its module of that name: from outside the package it counts as both."""
    found = set()
    for imported in imports()[name]:
        module, package = file_of(imported.path), file_of(imported.path[:-1])
        found.add(module)
        if module is None or package and Path(package).parent not in Path(name).parents:
            found.add(package)
    return found - {None, name}


@functools.cache
def arrows() -> dict[str, set[str]]:
    """File → the files of this repository that it imports."""
    return {name: targets(name) for name in SOURCES}


def test_each_room_imports_only_rooms_below_it():
    unknown = {name for name in SOURCES if room(name) not in MAY_IMPORT}
    assert not unknown, f"no floor is named for {sorted(unknown)}: put its room into MAY_IMPORT"
    wrong = [f"{name} imports {target}" for name in SOURCES for target in sorted(arrows()[name])
             if room(target) not in {room(name), *MAY_IMPORT[room(name)]}]
    assert not wrong, "these rooms may not import those: " + "; ".join(wrong)


def test_the_floors_are_in_order():
    """MAY_IMPORT itself keeps the plan: no circle of rooms, and wings that do not reach each other on any
    way."""
    def reached(start: str) -> set[str]:
        seen, ahead = set(), [start]
        while ahead:
            ahead += MAY_IMPORT[here] - seen if (here := ahead.pop()) in MAY_IMPORT else ()
            seen |= MAY_IMPORT[here]
        return seen

    # its __init__ imports nothing by itself, its __main__ the command line
    rooms = set(MAY_IMPORT) - {"birefnet"}
    assert not [here for here in rooms if here in reached(here) - {"birefnet"} and here != "cli"]
    assert not set().union(*map(reached, PIXELS)) & NETWORK
    assert not set().union(*map(reached, NETWORK)) & PIXELS
    assert not [here for here in rooms if not here.startswith("tools")
                and any("tools" in to for to in reached(here))]


def test_no_circle_of_imports():
    """Between modules, imports inside functions included."""
    state: dict[str, str] = {}

    def walk(name: str, way: tuple[str, ...]) -> None:
        state[name] = "open"
        for target in sorted(arrows()[name]):
            assert state.get(target) != "open", "circle: " + " → ".join((*way[way.index(target):], target))
            if target not in state:
                walk(target, (*way, target))
        state[name] = "done"

    for name in SOURCES:
        if name not in state:
            walk(name, (name,))


def test_few_modules_stand_beside_the_rooms():
    beside = {path.name for path in (ROOT / "birefnet").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(beside) <= BESIDE, sorted(beside)


def test_the_public_names_are_where_the_package_says():
    """`birefnet.load` and the others are looked up on first use, so no import statement of the package names
    them."""
    import birefnet
    homes = [*birefnet._HOMES.values(), *birefnet._MODULES.values()]
    assert not [home for home in homes if file_of(("birefnet", *home.split("."))) is None]
    assert not [name for name in birefnet.__all__ if not hasattr(birefnet, name)]


def test_rooms_are_imported_relatively():
    """In the host `birefnet`, `nodes` and `weights` may be another pack's names; only what runs in a clone
    uses them."""
    wrong = [f"{name} imports {found.package}" for name, named in imports().items() for found in named
             if found.package in TREES and not found.relative and not name.startswith("tools/")
             and not (room(name) in ("cli", "birefnet") and found.package == "weights")]
    assert not wrong


def test_only_the_nodes_know_the_host():
    assert not [name for name, named in imports().items() if not name.startswith("nodes/")
                and {found.package for found in named} & HOST]


def test_the_hub_is_used_in_one_place_and_only_when_fetching():
    hub = {(name, found.at_import) for name, named in imports().items() for found in named
           if found.package == "huggingface_hub"}
    assert hub <= {("weights/downloads.py", False)}


def test_what_only_scaling_needs_is_imported_when_it_is_used():
    scaling = {"ray", "pyarrow", "fsspec", "s3fs"}
    assert not [name for name, named in imports().items() for found in named
                if found.package in scaling and found.at_import]


def test_python_3_10_can_read_it():
    for text in SOURCES.values():
        ast.parse(text, feature_version=(3, 10))


def test_sys_path_is_left_alone():
    assert not [name for name, text in SOURCES.items() if "sys.path" in text]


def test_the_root_is_an_entry_point_and_nothing_else():
    tree = ast.parse(SOURCES["__init__.py"])
    assert {found.package for found in imports()["__init__.py"] if found.at_import} == {"__future__"}
    assert {node.name for node in tree.body if hasattr(node, "name")} == {"comfy_entrypoint"}


IMPORT_UNDER_WATCH = """
import importlib, os, pkgutil, sys

STARTS = ("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen")
REACHES = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def watch(event, args):
    if event in STARTS + REACHES:
        raise AssertionError(f"{event} {args}")
    if event == "open" and (str(args[0]).endswith((".safetensors", ".pth", ".pt")) or args[2] & WRITES):
        raise AssertionError(f"opened {args}")

before = sys.argv[1:]  # other people's packages, which do as they like
for name in before:
    importlib.import_module(name)
sys.addaudithook(watch)
import weights
assert before or "torch" not in sys.modules and "huggingface_hub" not in sys.modules
import birefnet
names = [module.name for package in (birefnet, weights)
         for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
         if not module.name.endswith("__main__")]
for name in names if before else []:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] in ("birefnet", "weights"):
            raise
"""


OTHERS = ("torch", "PIL.Image", "safetensors.torch", "tqdm", "numpy", "kornia", "cv2", "scipy.ndimage",
          "skimage.morphology")


@pytest.mark.parametrize("before", [
    pytest.param((), id="at first"), pytest.param(OTHERS, id="every module", marks=pytest.mark.slow)])
def test_importing_installs_downloads_and_starts_nothing(before):
    subprocess.run([sys.executable, "-B", "-c", IMPORT_UNDER_WATCH, *before], cwd=ROOT, check=True,
                   timeout=120)


def requirements(file: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def test_pyproject_and_requirements_name_the_same_packages():
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL).group(1)
    assert re.findall(r'^\s+"(.+)",$', block, re.MULTILINE) == requirements(ROOT / "requirements.txt")


def test_runtime_packages_are_ranges_without_a_pin():
    assert not [line for line in requirements(ROOT / "requirements.txt") if "==" in line]


def test_no_file_names_a_machine_or_a_registry():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    files = [ROOT / file for file in listed.stdout.split("\0") if file]
    if listed.returncode:
        pytest.skip("not a git clone")
    told = re.compile(rb"/wor[k]/|/roo[t]/|file:///op[t]")
    assert not [str(file) for file in files if file.is_file() and told.search(file.read_bytes())]
