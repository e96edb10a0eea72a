"""Every text of every node in every language: none lacks, none is left over, none would break the page.

locales/en is compared with the schemas on a running host, in tests/host/test_locales.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "locales"
LANGUAGES = {"en", "zh", "ja", "ko", "es", "fr", "de"}
TRANSLATED = sorted(LANGUAGES - {"en"})


def read(language: str, file: str = "nodeDefs") -> dict:
    return json.loads((FOLDER / language / f"{file}.json").read_text(encoding="utf-8"))


def flat(texts: dict, path: str = "") -> dict[str, str]:
    """{"BiRefLoad.inputs.dtype.tooltip": "…", …}"""
    found = {}
    for key, value in texts.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


def test_the_languages_are_there():
    assert {folder.name for folder in FOLDER.iterdir()} == LANGUAGES
    assert {language for language in LANGUAGES if read(language, "main")["nodeCategories"]} == LANGUAGES


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_lacks_and_nothing_is_left_over(language):
    wanted, there = flat(read("en")), flat(read(language))
    found = [f"{language} lacks {key}: {wanted[key]}" for key in wanted if not there.get(key)]
    found += [f"{language} has too many: {key}" for key in there if key not in wanted]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize("language", TRANSLATED)
def test_descriptions_and_tooltips_are_translated_numbers_and_all(language):
    wanted, there = flat(read("en")), flat(read(language))
    for key in wanted.keys() & there.keys():
        if key.endswith(("tooltip", "description")):
            assert there[key] != wanted[key], key
            if language not in ("zh", "ja", "ko"):  # whose numerals and dates differ ("one", "2024年11月")
                assert numbers(there[key]) == numbers(wanted[key]), key


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_the_page_can_show_every_text(language):
    """These characters mean something in the page's texts: placeholders, links to other texts, plural
    forms."""
    assert [key for key, text in flat(read(language)).items() if re.search(r"[{}@|]", text)] == []
    assert [key for key, text in flat(read(language)).items() if text != text.strip()] == []
