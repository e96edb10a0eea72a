"""Which room may import what: the arrows between the rooms, and what never happens at import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("birefnet", "nodes", "weights")
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "execution", "server", "node_helpers"}
COMMAND_LINE = ("birefnet/__main__.py", "birefnet/cli/")
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))] + [ROOT / "__init__.py"]


@dataclass(frozen=True)
class Import:
    """An import of top-level package `package` ("" for the pack itself), relative or by bare name, deferred or not."""

    package: str
    relative: bool
    at_import: bool


def imports(path: Path) -> set[Import]:
    """Everything that a file of the pack imports, wherever in the file."""
    found = set()

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            at_import = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(Import(alias.name.split(".")[0], False, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(Import(node.module.split(".")[0], False, at_import))
        elif isinstance(node, ast.ImportFrom):
            folder = path.relative_to(ROOT).parts[:-node.level]
            for alias in node.names:
                target = (*folder, *(node.module.split(".") if node.module else ()), alias.name)
                found.add(Import(target[0], True, at_import))
        for child in ast.iter_child_nodes(node):
            visit(child, at_import)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_arrows_between_rooms(path):
    allowed = {"nodes": {"nodes", "birefnet", "weights"}, "birefnet": {"birefnet"}, "weights": {"weights"},
               "__init__.py": {"nodes"}}[room(path)]
    for found in imports(path):
        if found.relative:
            assert found.package in allowed, f"{name(path)} reaches into {found.package}"
        elif found.package in ROOMS:
            assert name(path).startswith(COMMAND_LINE) and found.package == "weights", (
                f"{name(path)} imports {found.package} by its bare name, which in the host may be another pack's")


@pytest.mark.parametrize("path", [path for path in SOURCES if room(path) in ("birefnet", "weights")], ids=name)
def test_only_the_nodes_know_the_host(path):
    assert {found.package for found in imports(path)} & HOST == set()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_hub_is_used_in_one_place_and_only_when_fetching(path):
    hub = [found for found in imports(path) if found.package == "huggingface_hub"]
    assert not hub or name(path) == "weights/fetch.py" and not any(found.at_import for found in hub)


@pytest.mark.parametrize("path", [path for path in SOURCES if not name(path).startswith(COMMAND_LINE)], ids=name)
def test_the_command_line_is_not_imported_from_elsewhere(path):
    assert not re.search(r"^\s*from \.+(birefnet)?\.?(cli|__main__)\b|import cli\b",
                         path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_python_3_10_can_read_it(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sys_path_is_left_alone(path):
    assert "sys.path" not in path.read_text(encoding="utf-8")


def test_the_root_is_an_entry_point_and_nothing_else():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert [found for found in imports(ROOT / "__init__.py") if found.at_import] == [Import("__future__", False, True)]
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


@pytest.mark.parametrize("before", [(), OTHERS], ids=["at first", "every module"])
def test_importing_installs_downloads_and_starts_nothing(before):
    subprocess.run([sys.executable, "-B", "-c", IMPORT_UNDER_WATCH, *before], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_only_scaling_needs_is_imported_when_it_is_used(path):
    scaling = {"ray", "pyarrow", "fsspec", "s3fs"}
    assert not [found for found in imports(path) if found.package in scaling and found.at_import]


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
    assert [name(file) for file in files if file.is_file() and told.search(file.read_bytes())] == []
