"""What README and the pages in docs/ say can be pasted, run and found."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from PIL import Image

import birefnet
import weights
from birefnet.__main__ import COMMANDS, main
from birefnet.checkpoint import adapters
from birefnet.checkpoint.adapters import Adapter
from birefnet.imaging import pictures

ROOT = Path(__file__).parents[2]
README_BYTES = 9 * 1024
OPTION = r"(?<![\w-])--[a-z][a-z-]*"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for folder in (".", "docs", "web/docs", "weights", "tests/data")
         for path in sorted((ROOT / folder).glob("*.md"))}
README, DOCS = PAGES["README.md"], {name: text for name, text in PAGES.items() if not name.startswith("web/")}
CHECKPOINTS, COMMAND_LINE = PAGES["docs/checkpoints.md"], PAGES["docs/command-line.md"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def links(page: str) -> list[str]:
    """Targets of links and images that are no addresses."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", page) if not re.match(r"[a-z]+:", target)]


def anchors(page: str) -> set[str]:
    """What a git host calls a page's headings in its addresses."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL),
                          re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(page: str) -> list[str]:
    """Code spans, and lines of indented and fenced blocks, continued lines joined."""
    page = re.sub(r"\\\n\s*", " ", page)
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)).splitlines()
    return fenced + re.findall(r"^ {4}(\S.*)$", page, re.MULTILINE) + [
        span.replace("\n", " ") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", page)]


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """An empty folder, the working directory, in which README's relative paths lead to this repository."""
    for name in ("tests", "weights"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_is_short():
    assert len(README.encode()) <= README_BYTES, "move details to a page in docs/"


def test_the_first_block_cuts_a_photograph(clone):
    """Its last line, run here; its other lines make the environment that this test runs in."""
    line = blocks(README, "sh")[0].strip().splitlines()[-1]
    assert line.startswith("python -m birefnet cut ")
    assert main(line.split()[3:]) == 0
    assert Image.open(clone / "cutout.png").mode == "RGBA"


def test_the_second_block_runs_these_tests():
    assert blocks(README, "sh")[1].strip().endswith("python -m pytest -n 2")


def test_the_python_examples_run(clone, capsys):
    (example,) = [example for page in PAGES.values() for example in blocks(page, "python")]
    exec(compile(example, "docs/python.md", "exec"), {})
    assert Image.open(clone / "cutout-python.png").mode == "RGBA"
    assert re.search(r"\d+% of the picture", capsys.readouterr().out)


@pytest.mark.parametrize("name", PAGES)
def test_links_and_images_lead_somewhere(name):
    lost = []
    for target in links(PAGES[name]):
        file, _, anchor = unquote(target).partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        if not path.exists() or anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
            lost.append(target)
    assert lost == []


def test_every_page_can_be_reached_from_readme():
    reached, ahead = set(), ["README.md"]
    while ahead:
        reached.add(name := ahead.pop())
        targets = [((ROOT / name).parent / unquote(target).partition("#")[0]).resolve()
                   for target in links(PAGES[name])]
        names = {target.relative_to(ROOT).as_posix() for target in targets if target.suffix == ".md"}
        ahead += names & PAGES.keys() - reached
    assert {name for name in PAGES if name.startswith("docs/")} <= reached


@pytest.mark.parametrize("name", DOCS)
def test_files_that_are_named_are_there(name):
    roots = ("birefnet/", "nodes/", "weights/", "tools/", "tests/", "docs/", "web/", "locales/",
             "example_workflows/",
             "subgraphs/")
    words = {word for text in code(DOCS[name]) for word in text.split() if word.startswith(roots)}
    words = {word for word in words if not re.search(r"[<*{:(]", word)}  # patterns, `git show COMMIT:FILE`
    assert sorted(word for word in words if not (ROOT / word.rstrip(".,;")).exists()) == []


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """Command of `python -m birefnet` → the options in its help; the help is the parser's."""
    offered = {}
    for command in COMMANDS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([command, "--help"])
        offered[command] = set(re.findall(OPTION, out.getvalue()))
    return offered


def of_source(path: Path) -> set[str]:
    """Options that a program's source adds; `path`: its file, or the folder of its package."""
    files = path.rglob("*.py") if path.is_dir() else [path]
    return set(re.findall(r"""["'](--[a-z][a-z-]*)["']""",
                          "".join(file.read_text(encoding="utf-8") for file in files)))


@pytest.mark.parametrize("name", DOCS)
def test_commands_and_options_that_are_named_exist(name, options):
    """`[python -m birefnet] COMMAND ...` against the command's help, other programs of this repository
    against their source; an option by itself must be one of ours."""
    wrong = []
    for text in code(DOCS[name]):
        text = text[max(text.find("python "), 0):]  # what comes before is another program's
        if found := re.match(rf"({'|'.join(COMMANDS)}) ", text) or re.search(r"python -m birefnet ([a-z]+)",
                                                                             text):
            known = options[found[1]]
        elif found := re.search(r"python -m (tools[\w.]*)", text):
            module = ROOT.joinpath(*found[1].split("."))
            known = of_source(module if module.is_dir() else module.with_suffix(".py"))
        elif found := re.search(r"python ((?:tests|example_workflows)/\S+\.py)", text):
            known = of_source(ROOT / found[1])
        elif text.startswith("--"):
            known = of_source(ROOT / "tools" / "bench").union(*options.values())
        else:
            continue  # another project's program
        wrong += [f"{text}: {option}" for option in sorted(set(re.findall(OPTION, text)) - known)]
    assert wrong == []


def test_the_usage_line_names_every_option(options):
    line = next(line for line in COMMAND_LINE.splitlines() if "birefnet cut IN..." in line)
    assert set(re.findall(r"--[a-z-]+", line)) == options["cut"] - {"--help", "--out"}


def test_every_command_is_described():
    assert [command for command in COMMANDS if f"python -m birefnet {command} " not in COMMAND_LINE] == []


EXAMPLES = re.findall(r"^\| `(cut .*?)` \|", COMMAND_LINE, re.MULTILINE)


@pytest.mark.parametrize("example", [
    pytest.param(example, marks=[pytest.mark.slow] if re.search("--point|--frame|--size", example) else [])
    for example in EXAMPLES])
def test_the_examples_of_the_command_line_run(tmp_path, monkeypatch, photo, tiny, example):
    assert len(EXAMPLES) > 5
    for name in ("photo.jpg", "beach.jpg", "holiday/a.jpg", "holiday/deeper/b.jpg"):
        photo(name)
    for name in ("shot.0001.exr", "shots/shot.0001.exr", "scan.tif", "shots/shot.0001.tif"):
        pictures.write(tmp_path / name, torch.rand(1, 32, 40, 3))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "BiRefNet.safetensors").write_bytes(tiny.read_bytes())
    if "cracks.safetensors" in example:
        nano = birefnet.load(ROOT / "weights" / "birefnet-nano.safetensors", form="plain")
        Adapter({"decoder.conv_out1.0.bias.diff": torch.ones(1)}, adapters.make_metadata("head", nano)).save(
            tmp_path / "cracks.safetensors")
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path / "models",))
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(example)
    assert main(arguments) == 0
    made = arguments[arguments.index("-o") + 1]
    assert Path(made).exists() or list(Path(made).parent.glob(re.sub("#+", "*", Path(made).name)))


@pytest.mark.parametrize("row", weights.CATALOG, ids=lambda row: row.name)
def test_the_table_has_every_checkpoint_as_the_catalog_does(row):
    (line,) = [line for line in CHECKPOINTS.splitlines() if line.startswith(f"| `{row.name}` |")]
    _, task, size, download, licence = (cell.strip() for cell in line.strip("|").split("|"))
    height, width = row.height_width or (0, 0)
    square = "the photograph's" if not height else str(height)
    assert task == row.task
    assert size == (square if height == width else f"{width}×{height}")
    assert download == ("included" if row.repo is None else f"{row.megabytes} MB")
    assert licence == row.license + (": **non-commercial**" if row.non_commercial else "")


def test_readme_lists_every_node():
    titles = [node["display_name"] for node in
              json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8")).values()]
    named = {name for row in re.findall(r"^\| (\*\*.*?\*\*) \|", README, re.MULTILINE)
             for name in re.findall(r"\*\*(.+?)\*\*", row)}
    assert named == {title.removesuffix(" (BiRefNet)") for title in titles}


def test_every_template_is_shown_and_explained():
    templates = {path.stem for path in (ROOT / "example_workflows").glob("*.json")}
    shown = {Path(unquote(target)).stem for target in links(README)
             if target.startswith("example_workflows/")}
    explained = {Path(unquote(target)).stem for target in links(PAGES["docs/templates.md"])
                 if target.startswith("../example_workflows/") and "/api/" not in target}
    assert shown == templates == explained


def test_the_architecture_page_names_every_room():
    """Down to the second floor of a tree: an encoder's own folder is its business."""
    page = PAGES["docs/architecture.md"]
    rooms = {path.parent.relative_to(ROOT) for tree in ("birefnet", "nodes", "weights", "tools")
             for path in (ROOT / tree).rglob("__init__.py")}
    rooms = {f"{room.as_posix()}/" for room in rooms if len(room.parts) <= 3} - {"tools/"}
    assert sorted(room for room in rooms if f"`{room}`" not in page) == []


def test_the_architecture_page_names_what_is_there():
    """`FILE` `NAME` on the page: the file defines that name."""
    steps = re.findall(r"`([\w/]+\.py)`\s`(\w+)`", PAGES["docs/architecture.md"])
    assert len(steps) > 20
    assert [f"{file} has no {name}" for file, name in steps if not re.search(
        rf"^((async )?def {name}\b|class {name}\b|{name} =)", (ROOT / file).read_text(encoding="utf-8"),
        re.MULTILINE)] == []
