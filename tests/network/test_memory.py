"""What a pass is said to need is what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from birefnet.memory import WORK_SPACE

SCRIPT = """
import sys, threading, time
import torch, birefnet
from conftest import random_state

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

config = birefnet.Config(**eval(sys.argv[1]))
size = int(sys.argv[2])
model = birefnet.load(random_state(config), form=sys.argv[3])

@torch.inference_mode()
def run(side):
    model(torch.zeros(1, 3, side, side))

run(64)
before = peak = resident()
thread = threading.Thread(target=run, args=(size,))
thread.start()
while thread.is_alive():
    peak = max(peak, resident())
    time.sleep(0.002)
print(peak - before, birefnet.activation_bytes(model, (size, size)))
"""
NANO_LIKE = dict(family="pvt_v2", widths=(32, 64, 160, 256), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8), kernels=(1, 3),
                 inner=32, branch=64, patch_inner=32)
SWIN_T = dict(family="swin_v1", widths=(96, 192, 384, 768), depths=(2, 2, 2, 2), heads=(3, 6, 12, 24))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc, Linux only")
@pytest.mark.parametrize("form", ["plain", "inference"])
@pytest.mark.parametrize("config, size", [(NANO_LIKE, 768), (SWIN_T, 384)], ids=["small build", "swin_v1_t"])
def test_the_estimate_covers_the_measured_peak_without_wild_excess(config, size, form):
    here = Path(__file__).parent
    run = subprocess.run([sys.executable, "-c", SCRIPT, repr(config), str(size), form], capture_output=True, text=True,
                         env={"PYTHONPATH": f"{here}:{here.parents[1]}", "PATH": "/usr/bin"})
    assert run.returncode == 0, run.stderr
    measured, estimate = map(int, run.stdout.split())
    assert measured < estimate < 3 * measured + WORK_SPACE, (
        f"measured {measured >> 20} MiB, estimated {estimate >> 20} MiB")
