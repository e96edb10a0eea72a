"""What `cut` takes: lists, URLs and places that are no folders of this machine (tests/scale has an S3
server)."""

from __future__ import annotations

import os

import fsspec
import pytest

from birefnet.cli.cut import places


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


@pytest.fixture
def store():
    """A file system that is not this machine's, for this process only: memory://."""
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


# Lists ------------------------------------------------------------------------------------------------------


def test_a_text_list_has_a_picture_on_each_line(tmp_path, cut, photo):
    photo("x/a b.png"), photo("x/c.png")
    second = (tmp_path / "x" / "c.png").as_uri()
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x/a b.png\n\n  {second}  \r\n", "utf-8-sig")
    result = cut("--list", tmp_path / "list.txt", "-o", tmp_path / "out")
    assert result.status == 0 and names(tmp_path / "out") == ["a b.png", "c.png"]


def test_lists_and_inputs_together(tmp_path, cut, photo):
    first, second = photo("a.png"), photo("in/b.png")
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text(str(photo(f"x/{number}.png")))
    cut(first, second.parent, "--list", tmp_path / "1.txt", "--list", tmp_path / "2.txt", "-o",
        tmp_path / "out")
    assert names(tmp_path / "out") == ["1.png", "2.png", "a.png", "b.png"]


def test_a_list_of_one_picture_is_still_a_list(tmp_path, cut, photo):
    (tmp_path / "list.txt").write_text(str(photo("a.png")))
    result = cut("--list", tmp_path / "list.txt", "-o", tmp_path / "b.png")
    assert result.status == 1 and "b.png: expected a folder" in result.messages[0]


@pytest.mark.parametrize("content, message", [
    (None, "cannot be read (No such file or directory)"), (b"\xff\xfe\x00", "expected text in UTF-8"),
    (b"\n\n", "no file matches"),
])
def test_lists_that_are_none(tmp_path, cut, content, message):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    result = cut("--list", tmp_path / "list.txt", "-o", tmp_path / "out")
    assert result.status == 1 and len(result.messages) == 1 and message in result.messages[0]


def parquet(path, columns: dict[str, list]):
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("columns", [["path", "title"], ["photo"]])
def test_a_parquet_list_has_a_column_of_paths(tmp_path, cut, photo, columns):
    paths = [str(photo("x/a.png")), str(photo("x/b.png")), None]
    table = parquet(tmp_path / "list.parquet",
                    {columns[0]: paths, **{name: ["x"] * 3 for name in columns[1:]},
                                                "price": [1, 2, 3]})
    assert cut("--list", table, "-o", tmp_path / "out").status == 0
    assert names(tmp_path / "out") == ["a.png", "b.png"]


def test_a_parquet_list_without_such_a_column(tmp_path, cut):
    table = parquet(tmp_path / "list.parquet", {"photo": ["a"], "title": ["b"]})
    assert "its columns are photo, title" in cut("--list", table, "-o", tmp_path / "out").messages[0]
    table.write_bytes(b"no table")
    assert "expected a Parquet file" in cut("--list", table, "-o", tmp_path / "out").messages[0]


def test_names_that_are_no_text(tmp_path, cut, photo):
    """Old archives hold names in other encodings."""
    source = os.fsencode(photo("in/a.png"))
    os.rename(source, source.replace(b"a.png", b"\xe4.png"))
    assert cut(tmp_path / "in", "-o", tmp_path / "out").status == 0
    assert os.listdir(os.fsencode(tmp_path / "out"))[-1] in (b"\xe4.png", b".cut")
    assert cut(tmp_path / "in", "-o", tmp_path / "out").messages[-1].endswith("1 of them before")


# Other file systems -----------------------------------------------------------------------------------------


def test_from_one_file_system_to_another(tmp_path, cut, photo, store):
    for name in ("a", "b"):
        store.pipe_file(f"/shop/in/{name}.png", photo(f"in/{name}.png").read_bytes())
    store.pipe_file("/shop/in/notes.txt", b"no picture")
    store.pipe_file("/shop/in/deeper/c.png", photo("c.png").read_bytes())
    assert cut("memory://shop/in", "-o",
               "memory://shop/out").messages[-1] == "2 of 2 written to memory://shop/out"
    cut(tmp_path / "in", "-o", tmp_path / "out")
    assert {name: store.cat_file(f"/shop/out/{name}") for name in ("a.png", "b.png")} == {
        path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert not [path for path in store.find("/shop/out") if path.endswith(".part")]


def test_a_glob_in_a_store(tmp_path, cut, photo, store):
    for name in ("in/a.png", "in/deeper/b.png", "in/out/c.png"):
        store.pipe_file(f"/shop/{name}", photo("a.png").read_bytes())
    cut("memory://shop/in/**/*.png", "-o", "memory://shop/in/out")
    assert [path for path in store.find("/shop/in/out") if path.endswith("b.png")]
    cut("memory://shop/in/**/*.png", "-o", tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix()
                  for path in (tmp_path / "out").rglob("*.png")) == [
        "a.png", "deeper/b.png", "out/a.png", "out/c.png", "out/deeper/b.png"]


def test_a_run_into_a_store_goes_on_too(tmp_path, cut, photo, store):
    photo("in/a.png"), photo("in/b.png")
    cut(tmp_path / "in", "-o", "memory://shop/out")
    store.rm_file("/shop/out/b.png")
    assert cut(tmp_path / "in", "-o", "memory://shop/out").messages[-1].endswith("1 of them before")
    assert "other settings" in cut(tmp_path / "in", "-o", "memory://shop/out", "--mask").messages[0]


def test_nothing_in_a_store_is_overwritten_unless_forced(tmp_path, cut, photo, store):
    photo("in/a.png")
    store.pipe_file("/shop/out/a.png", b"mine")
    result = cut(tmp_path / "in", "-o", "memory://shop/out")
    assert result.status == 1 and "a.png exists; --force overwrites" in result.messages[0]
    assert store.cat_file("/shop/out/a.png") == b"mine"
    assert cut(tmp_path / "in", "-o", "memory://shop/out", "--force").status == 0
    assert store.cat_file("/shop/out/a.png").startswith(b"\x89PNG")


def test_one_picture_into_a_store(tmp_path, cut, photo, store):
    assert cut(photo("a.png"), "-o", "memory://shop/b.webp").status == 0
    assert store.cat_file("/shop/b.webp")[8:12] == b"WEBP" and store.find("/shop") == ["/shop/b.webp"]


def test_an_input_in_a_store_is_never_replaced(cut, photo, store):
    store.pipe_file("/shop/a.png", photo("a.png").read_bytes())
    for out in ("memory://shop", "memory://shop/a.png"):
        assert "which is read" in cut("memory://shop/a.png", "-o", out, "--force").messages[0]


def test_what_another_process_wrote_alike_counts_as_written(tmp_path):
    """So that who was killed between writing and telling can write again."""
    for place in (str(tmp_path / "a"), "memory://same/a"):
        places.write(place, b"content")
        places.write(place, b"content")
        with pytest.raises(FileExistsError):
            places.write(place, b"other")
        assert places.read(place) == b"content"


@pytest.mark.parametrize("source, message", [
    ("nosuch://a/b.png", "Protocol not known"), ("memory://shop/gone.png", "there is no such file"),
])
def test_urls_that_lead_nowhere(tmp_path, cut, store, source, message):
    result = cut(source, "-o", tmp_path / "out")
    assert result.status == 1 and message in result.messages[0 if len(result.messages) == 1 else 1]


# Engines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, message", [
    (["-o", "out"], "nothing to cut"), (["a.png", "-o", "out", "--address", "auto"], "add --engine ray"),
])
def test_wrong_usage(cut, arguments, message):
    result = cut(*arguments)
    assert result.status == 1 and message in result.messages[0]


def test_an_engine_that_is_not_installed(tmp_path, cut, photo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)  # as an import finds it that fails
    result = cut(photo("a.png"), "-o", tmp_path / "b.png", "--engine", "ray")
    assert result == (1, ["error: Install ray for --engine ray: pip install -r requirements-scale.txt"])
    assert not (tmp_path / "b.png").exists()
