"""One subject through a clip, chosen in any frame, in constant memory.

Where what was chosen by points comes apart nearby, it is followed from there instead. The frames before are
followed backwards first, a few at a time, and their mattes wait in a temporary file; then the clip is read
once more from its start.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from ..matting.subject import PARTING_REACH, Follower, Parting, reduce_picture
from .library import VideoError
from .read import Clip

CHUNK_BYTES = 1 << 28   # of the frames that are in memory at a time on the way back
FULL = 65535            # alpha 1 in the temporary file

Choose = Callable[[Tensor], Tensor]                     # picture [1,H,W,C] → alpha [1,H,W]
Progress = Callable[[int, int], None]                   # frames done, frames in all, on the way back
# Frames from the chosen one on, and what was chosen in it: see birefnet.matting.subject.find_parting.
FindParting = Callable[[Iterable[Tensor], Tensor], Parting | None]


class Following:
    """The mattes of one subject, for `video.matting`.

    Args:
        open_clip: opens the clip anew, for each of the chunks before `frame`.
        choose: the subject in the frame that it is chosen in.
        new_follower: a Follower for each direction.
        frame: number of that frame, from 0.
        progress: called on the way back.
        find_parting: where the subject is chosen by points.

    Raises, when iterated:
        VideoError: the clip has no such frame, or no subject is found in it.

    After the last frame, `lost` lists numbers of frames in which the subject was not in view.
    """

    def __init__(
        self,
        open_clip: Callable[[], AbstractContextManager[Clip]],
        choose: Choose,
        new_follower: Callable[[], Follower],
        frame: int = 0,
        progress: Progress = lambda done, total: None,
        find_parting: FindParting | None = None,
    ) -> None:
        self.open_clip, self.choose, self.new_follower = open_clip, choose, new_follower
        self.frame, self.progress, self.lost = frame, progress, []
        self.find_parting = find_parting

    def __call__(self, pictures: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(picture [1,H,W,C], alpha [1,H,W]) of each of pictures [H,W,C], from the clip's first."""
        with tempfile.TemporaryFile() as file:
            before = Store(file)
            if self.find_parting is not None:
                self._look_around()
            if self.frame:
                self._go_back(before)
            follower, count = self.new_follower(), 0
            for count, picture in enumerate(pictures, 1):  # noqa: B007
                i, picture = count - 1, picture[None]
                if i < self.frame:
                    alpha = before.read(i).to(picture.device)
                elif i == self.frame:
                    alpha = self._begin(follower, picture)
                else:
                    alpha = follower(picture)
                    if follower.lost:
                        self.lost.append(i)
                yield picture, alpha
        if count <= self.frame:
            raise VideoError(f"Choose the subject in an earlier frame than {self.frame}: the video has "
                             f"{count}, counted from 0")
        self.lost.sort()

    def _look_around(self) -> None:
        """Begins at the nearest frame in which what was chosen has come apart."""
        with self.open_clip() as clip:
            ahead = (picture[None] for _, picture in islice(clip, self.frame, None))
            first = next(ahead, None)
            if first is None:  # the clip has no such frame, which is said later
                return
            alpha = self._choose(first)
            if not alpha.any():
                return
            after = self.find_parting(map(reduce_picture, chain([first], ahead)), alpha)
        reach = PARTING_REACH if after is None else after[0] - 1
        with self.open_clip() as clip:
            seen = islice(clip, max(0, self.frame - reach), self.frame + 1)
            back = [reduce_picture(picture[None]) for _, picture in seen]
        before = self.find_parting(reversed(back), alpha)
        self.choose = lambda picture: alpha
        for found, way in ((before, -1), (after, 1)):
            if found is not None:
                self.frame, self.choose = self.frame + way * found[0], found[1]
                break

    def _choose(self, picture: Tensor) -> Tensor:
        try:
            return self.choose(picture)
        except ValueError as error:  # it is outside of the picture
            raise VideoError(str(error)) from None

    def _begin(self, follower: Follower, picture: Tensor) -> Tensor:
        alpha = self._choose(picture)
        try:
            follower.begin(picture, alpha)
        except ValueError:
            raise VideoError(f"Point at a subject: none was found in frame {self.frame}, where it is "
                             "chosen") from None
        return alpha

    def _go_back(self, store: Store) -> None:
        with self.open_clip() as clip:
            frames = max(2, CHUNK_BYTES // (clip.height * clip.width * 3 * 4))
        follower = None
        for stop in range(self.frame + 1, 0, -frames):
            start = max(0, stop - frames)
            with self.open_clip() as clip:
                chunk = [picture for _, picture in islice(clip, start, stop)]
            if follower is None:
                if len(chunk) < stop - start:
                    raise VideoError(f"Choose the subject in an earlier frame than {self.frame}: the video "
                                     f"has {start + len(chunk)}, counted from 0")
                follower = self.new_follower()
                self._begin(follower, chunk.pop()[None])
            while chunk:
                i, picture = start + len(chunk) - 1, chunk.pop()[None]
                store.write(i, follower(picture))
                if follower.lost:
                    self.lost.append(i)
                self.progress(self.frame - i, self.frame)


class Store:
    """Mattes [1,H,W] in a file, by number, in 16 bits, compressed."""

    def __init__(self, file) -> None:
        self.file, self.places = file, {}

    def write(self, number: int, alpha: Tensor) -> None:
        packed = zlib.compress((alpha.clamp(0, 1) * FULL + 0.5).cpu().numpy().astype(np.uint16).tobytes(), 1)
        self.file.seek(0, 2)
        self.places[number] = self.file.tell(), len(packed), tuple(alpha.shape)
        self.file.write(packed)

    def read(self, number: int) -> Tensor:
        place, length, shape = self.places[number]
        self.file.seek(place)
        values = np.frombuffer(zlib.decompress(self.file.read(length)), np.uint16).reshape(shape)
        return torch.from_numpy(values.astype(np.float32) / FULL)
