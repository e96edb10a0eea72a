"""The English texts in locales/ are the schemas' own, and the host serves every language."""

from __future__ import annotations

import json

from host import PACK

from locales import FILE, english


def test_the_english_texts_are_those_of_the_schemas(object_info):
    written, listed = json.loads(FILE.read_text(encoding="utf-8")), english(object_info)
    assert sorted(written) == sorted(listed)
    for node, texts in listed.items():  # else: python tests/host/locales.py COMFYUI
        assert written[node] == texts


def test_the_host_serves_every_language(host):
    served = host.get("/i18n")
    for folder in (PACK / "locales").iterdir():
        texts = json.loads((folder / "nodeDefs.json").read_text(encoding="utf-8"))
        assert served[folder.name]["nodeDefs"].items() >= texts.items()
        assert served[folder.name]["nodeCategories"]["BiRefNet"]
