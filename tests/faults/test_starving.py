"""Out of memory at every allocation of a pass and of loading: the error says so, and the network is as it
was.

The usual run takes some of them; `TRIES=99999 python -m pytest tests/faults/test_starving.py` takes all.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from starving import Starved, steps

import birefnet
from birefnet.device import memory

ROOT = Path(__file__).resolve().parents[2]
TRIES = int(os.environ.get("TRIES", 20))


def alive() -> int:
    """Bytes of all tensors that exist."""
    gc.collect()
    held = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in gc.get_objects()
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta}
    return sum(held.values())


@pytest.mark.parametrize("file", ["tiny", "tiny_swin"])
def test_a_pass_that_runs_out_of_memory_leaves_the_network_as_it_was(request, file):
    network = birefnet.load(request.getfixturevalue(file))
    photo = torch.rand(2, 50, 70, 4, generator=torch.Generator().manual_seed(0))
    birefnet.matte(network, photo)  # window tables are made once
    with Starved() as plenty:
        expected = birefnet.matte(network, photo)
    assert plenty.count > 100
    before = alive()
    for step in steps(plenty.count, TRIES):
        with Starved(at=step), pytest.raises((RuntimeError, MemoryError)) as raised:
            birefnet.matte(network, photo)
        assert birefnet.is_out_of_memory(raised.value), f"step {step}: {raised.value!r}"
        del raised
    assert torch.equal(birefnet.matte(network, photo), expected)
    assert alive() <= before


@pytest.mark.parametrize("file", ["tiny", "tiny_swin", "a pickle"])
def test_loading_that_runs_out_of_memory_says_so_and_never_blames_the_file(request, tmp_path, file):
    if file == "a pickle":
        path = tmp_path / "a.pth"
        torch.save(birefnet.load(request.getfixturevalue("tiny_swin"), form="plain").state_dict(), path)
    else:
        path = request.getfixturevalue(file)
    opened, before = len(os.listdir("/proc/self/fd")), alive()
    with Starved() as plenty:
        birefnet.load(path)
    for step in steps(plenty.count, TRIES):
        with Starved(at=step), pytest.raises((RuntimeError, MemoryError)) as raised:
            birefnet.load(path)
        assert birefnet.is_out_of_memory(raised.value), f"step {step}: {raised.value!r}"
        del raised
    assert alive() <= before
    assert len(os.listdir("/proc/self/fd")) <= opened


def test_a_step_of_onednn_that_finds_no_memory_is_known_and_one_it_cannot_do_is_not():
    assert birefnet.is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not birefnet.is_out_of_memory(RuntimeError(
        "could not create a primitive descriptor for a convolution forward propagation primitive"))
    assert birefnet.is_out_of_memory(OSError(12, "Cannot allocate memory"))
    assert not birefnet.is_out_of_memory(OSError(28, "No space left on device"))
    assert not memory.is_out_of_memory(ValueError("out of memory"))


# In earnest: a process with so much address space and no more.
# -------------------------------------------------------

LIMITED = """
import os, resource, sys
import torch
import birefnet
from birefnet import pictures
from birefnet.matting import foreground

torch.set_num_threads(1)
checkpoint, photo, out = sys.argv[1:4]
network = birefnet.load(checkpoint)
image = pictures.read(photo)
alpha = birefnet.matte(network, image, 256)
pictures.write(out, pictures.cutout(foreground.estimate(image, alpha), alpha), force=True)

def work(name):
    if name == "load":
        birefnet.load(checkpoint)
    elif name == "read":
        return torch.equal(pictures.read(photo), image)
    elif name == "matte":
        return torch.equal(birefnet.matte(network, image, 256), alpha)
    elif name == "foreground":
        foreground.estimate(image, alpha)
    elif name == "write":
        pictures.write(out, image)
    return True

for name in ("load", "read", "matte", "foreground", "write"):
    for mib in map(float, sys.argv[4:]):
        os.path.exists(out) and os.remove(out)
        child = os.fork()
        if not child:
            pages = int(open("/proc/self/statm").read().split()[0])
            limits = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + int(mib * 2**20), limits[1]))
            said = ""
            try:
                said = "right" if work(name) else "wrong"
            except birefnet.CheckpointError as error:
                said = f"the file was blamed: {error}"
            except pictures.PictureError as error:
                said = "a sentence" if "not enough memory" in str(error) else str(error)
            except Exception as error:
                resource.setrlimit(resource.RLIMIT_AS, limits)
                said = "out of memory" if birefnet.is_out_of_memory(error) else repr(error)
            os.write(1, f"{name} {said}\\n".encode())
            os._exit(0)
        os.waitpid(child, 0)
        left = [entry for entry in os.listdir(os.path.dirname(out)) if entry.endswith(".part")]
        assert not left, left
        if os.path.exists(out):
            pictures.read(out)
"""


def test_a_machine_without_memory_gives_the_right_result_or_says_so(tiny, tmp_path):
    """A process whose address space ends is what a full machine is like: any library's allocation may fail.

    Some of them crash then (seen in oneDNN): such a process has told nothing, and left nothing wrong.
    """
    photo = tmp_path / "photo.png"
    with Image.open(ROOT / "tests/data/dandelion.jpg") as picture:
        picture.resize((400, 480)).save(photo)
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny), str(photo), str(tmp_path / "out.png"),
         "0", "0.5", "1.5", "3", "6", "10", "14", "20", "40", "400"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=100)
    assert told.returncode == 0, told.stderr
    outcomes = [line.split(" ", 1) for line in told.stdout.splitlines()]
    assert {said for _, said in outcomes} <= {"right", "out of memory", "a sentence"}, told.stdout
    for name in ("load", "read", "matte", "foreground", "write"):
        assert {said for other, said in outcomes if other == name} >= {"right"}, told.stdout
    assert sum(said == "out of memory" for _, said in outcomes) >= 5, told.stdout
