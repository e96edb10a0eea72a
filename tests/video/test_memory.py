"""A clip's length costs no memory: 200 frames need what the first 60 need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from clips import write

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 144, 192
FRAME = HEIGHT * WIDTH * 3 * 4 / 2**20  # MiB of a picture in floats
FIRST, ALL = 60, 200  # H.264 looks 40 frames ahead, which it keeps: as many must have gone by

# Everything but the network, which is the same for every frame: smoothing, colours and encoding included.
# Prints the highest memory in KiB after the first frames and after all, and how many frames there were.
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

def highest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

source, target, first = sys.argv[1:]
count = 0
with video.VideoClip(source) as clip, video.writing(target, clip, "h264") as writer:
    look = video.rendering.Over(torch.tensor([0.0, 1.0, 0.0]), lambda: video.VideoClip(source))
    matting = video.matting(clip, mattes, look, smooth=Smoother(0.5), colours=foreground.estimate)
    for time, picture, alpha in matting:
        writer.write(time, picture)
        count += 1
        if count == int(first):
            print(highest())
print(highest(), count)
"""


def test_two_hundred_frames_need_what_the_first_sixty_need(tmp_path):
    """140 frames more, of which one kept as floats would be 44 MiB in the end, one kept as bytes 11 MiB."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    images = (np.stack([(x + 3 * i) % 256, (y + 2 * i) % 256, (x + y) // 4 % 256], -1).astype(np.uint8)
              for i in range(ALL))
    source = write(tmp_path / "long.mp4", images, options={"crf": "30", "preset": "ultrafast"})
    command = [sys.executable, "-c", PROCESS, source, tmp_path / "out.mp4", str(FIRST)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    some, many, count = map(int, done.stdout.split())
    assert count == ALL
    grown = (many - some) / 1024
    assert grown < (ALL - FIRST) * FRAME / 5, f"{grown:.1f} MiB more after {ALL} frames than after {FIRST}"
