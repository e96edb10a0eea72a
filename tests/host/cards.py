"""Takes the templates' cards: each one dropped on the real page, run on a test photograph, and pictured.

    python tests/host/cards.py COMFYUI PHOTO
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser import drop, open_page, picture, run
from host import PACK, Host
from PIL import Image

WIDTH = 1200  # of a card in pixels


def main(comfyui: Path, photo: Path) -> None:
    with tempfile.TemporaryDirectory() as base, Host(comfyui, Path(base), sys.executable) as host:
        name = host.upload(photo)
        with open_page(host.address, []) as page:
            for template in sorted((PACK / "example_workflows").glob("*.json")):
                drop(page, template)
                page.evaluate("""name => {
                    const widget = app.graph._nodes.find(node => node.type === 'LoadImage').widgets[0];
                    widget.value = name;
                    widget.callback(name);
                }""", name)
                outputs = page.evaluate("() => app.graph._nodes.filter(node => ['SaveImage', 'MaskPreview']"
                                        ".includes(node.type)).map(node => String(node.id))")
                run(page, outputs)
                card = template.with_suffix(".jpg")
                picture(page, card)
                with Image.open(card) as taken:
                    small = taken.resize((WIDTH, round(taken.height * WIDTH / taken.width)), Image.Resampling.LANCZOS)
                small.save(card, quality=82, optimize=True)
                print(card)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
