"""Fetching from a hub that is slow, breaks off, lies, refuses, or is not there."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import weights

MB = 1_000_000
NAME = "BiRefNet.safetensors"


def files(folder: Path) -> set[str]:
    """All files in the folder, hidden ones too, but for the lock that a failed fetch leaves to the next
    one."""
    return {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"}


def partial(folder: Path) -> Path:
    (found,) = folder.glob(".*.partial")
    return found


@pytest.mark.usefixtures("stalled")  # started with the first test, read by the last one
def test_a_fetched_file_is_what_the_hub_has_and_nothing_else_is_left(hub, tmp_path):
    outcome = hub.fetch(tmp_path / "models" / "BiRefNet")
    path = Path(outcome["path"])
    assert path == tmp_path / "models" / "BiRefNet" / NAME
    assert path.read_bytes() == hub.content
    assert [file.name for file in path.parent.iterdir()] == [NAME]
    done = [step[0] for step in outcome["progress"]]
    assert done == sorted(done) and done[0] == 0 and done[-1] == len(hub.content) and len(done) >= 3
    assert {step[1] for step in outcome["progress"]} == {len(hub.content)}
    assert weights.match(path).name == "BiRefNet" and weights.list_local([path.parent]) == {NAME: path}


def test_all_bytes_come_from_the_version_whose_hash_was_announced(hub, tmp_path):
    hub.fetch(tmp_path)
    assert [path for method, path, _ in hub.asked if method == "GET" and path.startswith("/ZhengPeng7/")] == [
        "/ZhengPeng7/BiRefNet/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors"
    ]


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub, tmp_path):
    assert "path" in hub.fetch(tmp_path, HF_TOKEN="hf_secret")
    tokens = {path.split("/")[1]: headers.get("authorization") for _, path, headers in hub.asked
              if "model" in path}
    assert tokens == {"ZhengPeng7": "Bearer hf_secret", "cdn": None}


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_file_that_is_here_and_whole_asks_nobody(hub, tmp_path, offline):
    (tmp_path / NAME).write_bytes(hub.content)
    assert hub.fetch(tmp_path, HF_HUB_OFFLINE=offline)["path"] == str(tmp_path / NAME)
    assert hub.asked == []


def test_a_truncated_file_is_fetched_again(hub, tmp_path):
    (tmp_path / NAME).write_bytes(hub.content[: 3 * MB])
    hub.fetch(tmp_path)
    assert (tmp_path / NAME).read_bytes() == hub.content


def test_offline_says_so_and_asks_nobody(hub, tmp_path):
    assert "HF_HUB_OFFLINE is set" in hub.fetch(tmp_path, HF_HUB_OFFLINE="1")["error"]
    assert hub.asked == []


def test_a_proxy_is_used(hub, tmp_path):
    outcome = hub.fetch(tmp_path, HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=f"http://127.0.0.1:{hub.port}")
    assert Path(outcome["path"]).read_bytes() == hub.content


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"status": 401}, "on its page, if it has any, and set HF_TOKEN to a valid token of that account: "
                          "the hub refuses the file (HTTP 401)"),
        ({"status": 403}, "the hub refuses the file (HTTP 403)"),
        ({"status": 404}, "HTTP 404"),
        ({"status": 500}, "HTTP 500"),
        ({"announced": {"X-Linked-Etag": '"no-hash"'}}, "names no size and hash"),
        ({"announced": {"X-Linked-Etag": f'"{"a" * 64}"'}}, "wrong hash"),
        ({"announced": {"X-Linked-Size": "24000000"}}, "sends more than the 24000000 bytes it announced"),
        ({"announced": {"X-Linked-Size": "26000000"}}, "shorter than it announced"),
        ({"stall": "HEAD"}, "timed out"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_the_hub_does_wrong_is_said_in_one_sentence(hub, tmp_path, wrong, said):
    for key, value in wrong.items():
        setattr(hub, key, value)
    error = hub.fetch(tmp_path)["error"]
    assert said in error
    assert error.startswith(("Accept", "Check", "Look for", "Try again")) and error.endswith(".")
    assert "\n" not in error
    assert files(tmp_path) == set()


@pytest.mark.slow
def test_a_wrong_hash_leaves_nothing_to_resume_and_the_next_try_is_clean(hub, tmp_path):
    hub.served = bytes(len(hub.content))
    assert "wrong hash" in hub.fetch(tmp_path)["error"]
    assert files(tmp_path) == set()
    hub.served = None
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content


@pytest.mark.slow
def test_a_size_announced_too_long_does_not_block_the_next_try(hub, tmp_path):
    hub.announced = {"X-Linked-Size": "26000000"}
    assert "shorter than it announced" in hub.fetch(tmp_path)["error"]
    hub.announced = {}
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content


def test_a_connection_that_breaks_is_resumed_within_the_fetch(hub, tmp_path):
    hub.end_after = [12 * MB, 12 * MB]
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content
    assert all("range" in headers for headers in hub.bodies()[1:])


@pytest.mark.slow
def test_a_server_that_cannot_resume_is_read_from_the_start(hub, tmp_path):
    hub.fetch(tmp_path, stop="OSError")
    hub.ranges = False
    hub.fetch(tmp_path)  # older releases of the library need this second try to notice
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content


def test_no_server_at_all(hub, tmp_path):
    error = hub.fetch(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")["error"]
    assert error.startswith("Check the network, the proxy variables and HF_ENDPOINT")


@pytest.mark.parametrize("kind", [pytest.param("OSError", marks=pytest.mark.slow), "KeyboardInterrupt"])
def test_what_the_callers_progress_raises_comes_out_and_the_next_try_goes_on(hub, tmp_path, kind):
    assert hub.fetch(tmp_path, stop=kind)["raised"] == f"{kind}: stopped by the caller"
    kept = partial(tmp_path).stat().st_size
    assert 0 < kept < len(hub.content)
    hub.asked.clear()
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content
    assert [headers["range"] for headers in hub.bodies()] == [f"bytes={kept}-"]
    assert files(tmp_path) == {NAME}


def test_a_killed_process_leaves_no_file_of_that_name_and_the_next_one_goes_on(hub, tmp_path):
    hub.seconds_per_mb = 0.03
    process = hub.start(tmp_path)
    while not any(path.stat().st_size for path in tmp_path.glob(".*.partial")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = partial(tmp_path).stat().st_size
    assert 0 < kept < len(hub.content)
    assert NAME not in files(tmp_path) and weights.list_local([tmp_path]) == {}
    hub.asked, hub.seconds_per_mb = [], 0
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content
    assert [headers["range"] for headers in hub.bodies()] == [f"bytes={kept}-"]
    assert files(tmp_path) == {NAME}


def test_two_processes_at_once_fetch_it_once(hub, tmp_path):
    hub.seconds_per_mb = 0.06
    processes = [hub.start(tmp_path), hub.start(tmp_path)]
    assert [hub.result(process)["path"] for process in processes] == [str(tmp_path / NAME)] * 2
    assert (tmp_path / NAME).read_bytes() == hub.content
    assert len(hub.bodies()) == 1
    assert files(tmp_path) == {NAME}


def test_a_full_disk_in_the_middle(hub, tmp_path):
    error = hub.fetch(tmp_path, limit=15 * MB)["error"]
    assert error.startswith(f"Make room in {tmp_path}") and "no room is left" in error
    assert partial(tmp_path).stat().st_size <= 15 * MB
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content


def test_a_full_disk_is_noticed_before_anything_is_fetched(hub, tmp_path):
    full = "import shutil, types; shutil.disk_usage = lambda path: types.SimpleNamespace(free=1_000_000)"
    error = hub.fetch(tmp_path, prelude=full)["error"]
    assert "needs 25 MB" in error and "has only 1 MB free" in error
    assert hub.bodies() == [] and files(tmp_path) == set()


def test_a_folder_that_cannot_be_written(hub, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert f"Allow writing into {tmp_path / 'file'}" in hub.fetch(tmp_path / "file")["error"]


def test_what_is_left_of_an_older_version_is_removed(hub, tmp_path):
    hub.fetch(tmp_path, stop="KeyError")
    hub.content = hub.content[:-1] + b"!"
    assert Path(hub.fetch(tmp_path)["path"]).read_bytes() == hub.content
    assert files(tmp_path) == {NAME}


def test_a_pickle_is_stored_under_the_catalogs_name(hub, tmp_path):
    assert hub.fetch(tmp_path, "toonout")["path"] == str(tmp_path / "toonout.pth")


def test_names_that_are_not_on_the_hub(tmp_path):
    with pytest.raises(weights.FetchError, match="^Choose .* catalog: 'BiRefNext' is none of birefnet-nano, "
                                                 "BiR"):
        weights.fetch("BiRefNext", tmp_path)
    if weights.NANO.is_file():
        assert weights.fetch("birefnet-nano", tmp_path) == weights.NANO
    assert list(tmp_path.iterdir()) == []


def test_without_the_hubs_library_it_says_what_to_install(hub, tmp_path):
    error = hub.fetch(tmp_path, prelude="import sys; sys.modules['huggingface_hub'] = None")["error"]
    assert error.startswith("Install the package huggingface_hub: it is missing")


def test_a_server_that_stalls(hub, stalled):
    error = hub.result(stalled)["error"]
    assert "failed" in error and "timed out" in error and "continues where this one stopped" in error
