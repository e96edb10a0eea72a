"""docs/dependencies.md names every package of every requirements file, with the licence that the package
itself tells."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("requirements*.txt"), ROOT / "tests" / "requirements.txt"])
FAMILIES = ("Apache", "BSD", "MIT", "MPL", "GPL")


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages() -> dict[str, str]:
    """Every package that some file asks for → that file's name. Options (-r) and comments are left out."""
    lines = [
        (line.split("#")[0].strip(), file) for file in FILES
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    block = re.search(r"\[project.optional-dependencies\](.*?)\n\[", (ROOT / "pyproject.toml").read_text(),
                      re.DOTALL)[
        1
    ]
    lines += [(line, ROOT / "pyproject.toml") for line in re.findall(r'"([^"]+)"', block)]
    return {key(re.match(r"[\w.-]+", line)[0]): file.name for line, file in lines if line
            and not line.startswith("-")}


def rows() -> dict[str, tuple[str, str]]:
    """package → (licence, why)."""
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| ([\w.-]+) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {key(name): (licence, why) for name, licence, why in found if name != "Package"}


def told(name: str) -> str:
    """All that an installed package says of its licence; "" for one that is not here or says nothing."""
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    data = package.metadata
    words = [
        data.get("License-Expression"),
        data.get("License"),
        *(line for line in data.get_all("Classifier") or [] if line.startswith("License")),
    ]
    said = " ".join(word for word in words if word and word != "UNKNOWN")  # what setuptools writes for none
    if said:
        return said
    files = [file for file in package.files or []
             if re.search(r"dist-info/(licenses/)?LICEN[CS]E", str(file))]
    return "".join(file.read_text(encoding="utf-8")[:3000] for file in files[:1])


def test_every_package_is_listed_with_its_reason():
    missing = {name: file for name, file in packages().items() if name not in rows()}
    assert not missing, f"docs/dependencies.md lacks {missing}"
    assert all(licence and len(why) > 1 for licence, why in rows().values())


def test_no_package_comes_from_elsewhere_than_the_index():
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    assert not re.search(r"://|^\s*(-i|--index-url|--extra-index-url|-f|--find-links|-e)\b", text,
                         re.MULTILINE)


@pytest.mark.parametrize("name", sorted(rows()))
def test_the_licence_is_the_packages_own_word(name):
    said = told(name)
    if not said:
        return  # not installed here, or without a word of it
    licence = rows()[name][0]
    named = [family for family in FAMILIES if family in licence]
    assert named, f"{name}: {licence} is of no known family"
    redistribution = {
        "BSD": "redistribution and use",
        "MIT": "permission is hereby granted",
    }  # how texts without a name begin
    assert all(
        family.lower() in said.lower() or redistribution.get(family, "\0") in " ".join(said.lower().split())
        for family in named
    ), f"{name}: docs/dependencies.md says {licence}, the package {said[:300]!r}"
