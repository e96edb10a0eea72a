"""Without kornia, SciPy and timm, or with broken ones, the pack imports, loads and mattes; what needs them
says so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from birefnet.files.packages import OLDEST

ROOT = Path(__file__).resolve().parents[1]

# `eval` and the validation of a training run score with SciPy; the command line asks for it before it imports
# them.
SCORES = ("birefnet/evaluation/", "tools/")

PRELUDE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in {packages!r}:
            raise {error}

sys.meta_path.insert(0, Blocked())
"""
ERRORS = {"missing": 'ModuleNotFoundError(f"No module named {name!r}", name=package)',
          "broken": 'OSError("libexample.so: undefined symbol")'}


def run_without(packages: set[str], state: str, script: str) -> None:
    prelude = PRELUDE.replace("{packages!r}", repr(packages)).replace("{error}", ERRORS[state])
    done = subprocess.run([sys.executable, "-c", prelude + script], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("state", ERRORS)
@pytest.mark.parametrize("packages", [{"kornia"}, {"scipy"}, set(OLDEST)], ids=["kornia", "scipy", "all"])
def test_a_photograph_is_cut_out_all_the_same(packages, state):
    run_without(packages, state, """
import torch
import birefnet
from birefnet.imaging import pictures
model = birefnet.load("weights/birefnet-nano.safetensors")
image = pictures.read("tests/data/astronaut.jpg")
alpha = birefnet.matte(model, image)
assert alpha.shape == image.shape[:3] and .2 < alpha.mean() < .8
assert pictures.cutout(image, alpha).shape[-1] == 4
""")


HOST_AS_MOCKS = """
import importlib, importlib.machinery, pkgutil, types
from unittest.mock import MagicMock

class Host(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    NAMES = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "execution", "server",
             "node_helpers", "app"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: MagicMock()
        return module
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Host())
spec = importlib.util.spec_from_file_location("pack", "__init__.py", submodule_search_locations=["."])
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
nodes = importlib.import_module("pack.nodes")
names = [module.name for module in pkgutil.walk_packages(nodes.__path__, "pack.nodes.")]
for name in names:
    importlib.import_module(name)
assert len(names) > 20
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ERRORS)
def test_every_module_of_the_nodes_is_imported_all_the_same(state):
    run_without(set(OLDEST), state, HOST_AS_MOCKS)


OPERATORS = {
    "feather": ("kornia", "masks.feather(ramp, 4)"),
    "smoothing over time": ("kornia", "flow.estimate_flow(ramp[None], ramp[None])"),
    "compositing in linear light": ("kornia", "colour.to_linear(torch.rand(1, 4, 4, 3))"),
    "training": ("kornia", "losses.ssim_loss(ramp[None], ramp[None])"),
    "measuring the regions of a mask": ("scipy", "masks.keep_largest(ramp, 1)"),
    "a trimap": ("scipy", "masks.trimap(ramp, 2, 2)"),
    "the optimiser muon": ("timm", "optimizers.Optimizer('muon', [torch.nn.Parameter(torch.ones(9, 9))], 1)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("state", ERRORS)
def test_what_needs_a_package_names_the_command(state):
    cases = {f'Install {package} for {purpose}: pip install "{package}>={OLDEST[package]}"': call
             for purpose, (package, call) in OPERATORS.items()}
    run_without(set(OLDEST), state, f"""
import torch
from birefnet import masks
from birefnet.files.packages import PackageError
from birefnet.imaging import colour, flow
from birefnet.training import losses, optimizers
ramp = torch.linspace(0, 1, 64 * 64).view(1, 64, 64)
for sentence, call in {cases!r}.items():
    try:
        eval(call)
    except PackageError as error:
        assert str(error).startswith(sentence), error
        assert ("libexample.so" in str(error)) == ({state!r} == "broken"), error
    else:
        raise AssertionError(call)
""")


@pytest.mark.slow
def test_a_package_that_is_too_old_is_told_of():
    run_without(set(), "missing", """
import timm.optim
from birefnet.files.packages import PackageError, require
del timm.optim.Muon
try:
    require("timm.optim", "the optimiser muon", "Muon")
except PackageError as error:
    assert 'pip install "timm>=' in str(error) and "too old" in str(error)
else:
    raise AssertionError
""")


def at_import(tree: ast.AST):
    """The packages that a module imports as it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from at_import(node)


def test_they_are_imported_only_when_they_are_used():
    found = {path.relative_to(ROOT).as_posix() for room in ("birefnet", "nodes", "weights")
             for path in (ROOT / room).rglob("*.py")
             if set(at_import(ast.parse(path.read_text(encoding="utf-8")))) & set(OLDEST)}
    assert [path for path in sorted(found) if not path.startswith(SCORES)] == []


def test_the_commands_ask_for_what_the_requirements_ask_for():
    asked = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-train.txt").read_text()
    for package, version in OLDEST.items():
        assert re.search(rf"^{package}>={re.escape(version)}$", asked, re.MULTILINE), package
