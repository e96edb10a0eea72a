"""A clip's length costs no memory: 400 frames need what 60 need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from clips import write

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 144, 192
FRAME = HEIGHT * WIDTH * 3 * 4 / 2**20  # MiB of a picture in floats

# Everything but the network, which is the same for every frame: smoothing, colours and encoding included.
PROCESS = """
import resource
import sys
import torch
from birefnet import video
from birefnet.matting import foreground
from birefnet.matting.temporal import Smoother

torch.set_num_threads(1)

def mattes(pictures):
    for picture in pictures:
        yield picture[None], picture[None, ..., 0].clamp(0.2, 0.8)

source, target, seconds = sys.argv[1:]
with video.File(source, duration=float(seconds)) as clip, video.writing(target, clip, "h264") as writer:
    look = video.rendering.Over(torch.tensor([0.0, 1.0, 0.0]), lambda: video.File(source))
    matting = video.matting(clip, mattes, look, smooth=Smoother(0.5), colours=foreground.estimate)
    count = sum(writer.write(time, picture) is None for time, picture, alpha in matting)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(source: Path, target: Path, seconds: float) -> tuple[int, float]:
    """Frames written, and the highest memory of a process of its own in MiB."""
    command = [sys.executable, "-c", PROCESS, str(source), str(target), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    count, kib = done.stdout.split()
    return int(count), int(kib) / 1024


def test_four_hundred_frames_need_what_sixty_need(tmp_path):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    images = (np.stack([(x + 3 * i) % 256, (y + 2 * i) % 256, (x + y) // 4 % 256], -1).astype(np.uint8)
              for i in range(400))
    source = write(tmp_path / "long.mp4", images, options={"crf": "30", "preset": "ultrafast"})
    short, some = peak(source, tmp_path / "short.mp4", 60 / 25)
    long, many = peak(source, tmp_path / "long_out.mp4", 0)
    assert (short, long) == (60, 400)
    assert many - some < 60 * FRAME, f"{some:.0f} MiB for 60 frames, {many:.0f} for 400"  # 340 more were read
