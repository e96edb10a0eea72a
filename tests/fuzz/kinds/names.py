"""Names from workflows: checkpoints that climb out of their folder, and what a file name cannot be."""

from __future__ import annotations

from pathlib import Path

from .kind import Kind

PARTS = (
    "..",
    ".",
    "",
    "~",
    "a",
    "General.safetensors",
    "secret.safetensors",
    "CON",
    "nul.pth",
    "AUX.safetensors",
    "COM1",
    "lpt9.x",
    "C:",
    "c:\\",
    "\\\\server\\share",
    "\\\\?\\C:\\",
    "file:",
    "%2e%2e",
    "．．",
    "‥",
    "a" * 300,
    "\0",
    "\n",
    "\u202e",
    "\ud800",
    "a.",
    "a ",
    " ",
    "BiRefNet",
    "birefnet-nano",
    "BiRefNet" + "-fp16" * 60,
    "link",
    "RMBG-2.0",
    "é",
    "e\u0301",
    "linked.safetensors",
    "-fp16-epoch-3",
    "$HOME",
    "`id`",
    ";",
    "|",
    "*",
    "?",
    "<>",
)


def names():
    from hypothesis import strategies as st

    part = st.one_of(st.sampled_from(PARTS), st.text(max_size=8))
    joined = st.tuples(st.sampled_from(["/", "\\", "//", ""]), st.lists(part, max_size=6)).map(
        lambda pair: pair[0].join(pair[1])
    )
    long = st.tuples(st.sampled_from(["-fp16", "a", "../", "-_. ", "x/", "(a|"]),
                     st.integers(100, 200_000)).map(
        lambda pair: pair[0] * pair[1]
    )
    return st.one_of(
        joined,
        joined,
        joined,
        st.sampled_from((*PARTS, "sub/a.pth", "SUB\\A.PTH", "sub/../General.safetensors")),
        st.text(),
        long,
    )


def refusals() -> tuple[type[BaseException], ...]:
    from weights import NotFound

    return (NotFound,)


def start(folder: Path):
    import weights

    models, outside = folder / "models", folder / "outside"
    for place in (models / "sub", outside):
        place.mkdir(parents=True)
    for file in (models / "General.safetensors", models / "sub" / "a.pth", outside / "secret.safetensors"):
        file.write_bytes(b"")
    (models / "linked.safetensors").symlink_to(outside / "secret.safetensors")  # by the user: may be read
    allowed = {models / "General.safetensors", models / "sub" / "a.pth", models / "linked.safetensors",
               weights.NANO}

    def find(name: str) -> None:
        weights.match(name)
        weights.settings(name)
        found = weights.find(name, [models])
        assert found in allowed, found

    return find


KINDS = (Kind("names", "names of checkpoints as a workflow may have them", 10, start, refusals, names),)
