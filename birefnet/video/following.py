"""Follow one subject, chosen in any frame, through a clip in constant memory.

The frames before the chosen one are followed backwards first, in chunks, and their mattes are kept in a file.
Then the clip is read again from its start. Where a prompt of points chose several subjects that touch,
following begins in a nearby frame in which they are apart. A run that keeps its mattes in a folder resumes
after it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, islice
from pathlib import Path

from torch import Tensor

from ..files.errors import VideoError
from ..matting.subject import PARTING_REACH, Follower, Parting, reduce_picture
from .read import Clip
from .saved_mattes import STATE, SavedMattes, read_state

CHUNK_BYTES = 1 << 28   # of frames in memory at a time when following backwards
SAVE_EVERY_FRAMES = 20  # the state from which a stopped run resumes

Choose = Callable[[Tensor], Tensor]                     # picture [1,H,W,C] → alpha [1,H,W]
Progress = Callable[[int, int], None]                   # frames done and frames in all, backwards
# (frames from the chosen one on, the matte chosen in it), see birefnet.matting.subject.find_parting
FindParting = Callable[[Iterable[Tensor], Tensor], Parting | None]


class Following:
    """The mattes of one subject, for `video.matting`.

    Args:
        open_clip: opens the clip again, for each of the chunks before the frame where following begins.
        choose: mattes the subject in the frame of the prompt.
        new_follower: makes a Follower for each direction.
        frame: number of that frame, counted from 0.
        progress: called when following backwards.
        find_parting: for a prompt of points; None for others.
        folder: for the mattes and the state from which a stopped run resumes, with pictures on the CPU; None
            to keep nothing.
        key: names clip, prompt and network; what was kept under another key is discarded.

    Raises, when iterated:
        VideoError: the clip has no such frame, or no subject is found in it.

    Attributes:
        lost: after the last frame, numbers of the frames in which the subject was not in view.
        resumed: number of mattes that came from an earlier run.
    """

    def __init__(
        self,
        open_clip: Callable[[], AbstractContextManager[Clip]],
        choose: Choose,
        new_follower: Callable[[], Follower],
        frame: int = 0,
        progress: Progress = lambda done, total: None,
        find_parting: FindParting | None = None,
        folder: Path | None = None,
        key: str = "",
    ) -> None:
        self.open_clip, self.choose, self.new_follower = open_clip, choose, new_follower
        self.frame, self.progress, self.find_parting = frame, progress, find_parting
        self.folder, self.key = folder, key
        self.lost: list[int] = []
        self.resumed = 0

    def can_resume(self) -> bool:
        """Whether an earlier run with the same key has kept its mattes."""
        return self.folder is not None and read_state(self.folder / STATE, self.key) is not None

    def __call__(self, pictures: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (picture [1,H,W,C], alpha [1,H,W]) for all pictures [H,W,C] of the clip."""
        self.lost, self.resumed = [], 0
        with SavedMattes(self.folder, self.key) as saved:
            state, done = saved.state, -1  # the last frame that was followed forwards
            start, choose = self.frame, self.choose
            if state is not None:
                start, self.lost, self.resumed = state["begin"], state["lost"], len(saved.entries)
            elif self.find_parting is not None:
                start, choose = self._look_around()
            begin = partial(self._begin, saved, start, choose)
            if state is not None and state["forwards"]:
                follower, done = self._restore(state), state["frame"]
            else:
                self._go_back(saved, start, begin)
                follower = self.new_follower()
            number = 0
            for picture in pictures:
                picture = picture[None]
                if number < start or number <= done:
                    alpha = saved.read(number).to(picture.device)
                elif number == start:
                    alpha = begin(follower, picture)
                else:
                    alpha = self._follow(follower, number, picture)
                    if self.folder is not None:
                        saved.write(number, alpha)
                        alpha = saved.read(number).to(picture.device)  # as a resumed run does
                if number >= start and number > done and (number - start) % SAVE_EVERY_FRAMES == 0:
                    self._save(saved, follower, start, number, forwards=True)
                yield picture, alpha
                number += 1
        if number <= start:
            raise self._no_such_frame(number)
        self.lost.sort()

    def _look_around(self) -> tuple[int, Choose]:
        """The nearest frame in which the chosen subject is apart from others, and its matte there; the
        prompt's frame if there is none."""
        with self.open_clip() as clip:
            ahead = (picture[None] for _, picture in islice(clip, self.frame, None))
            first = next(ahead, None)
            if first is None:  # the clip has no such frame; `__call__` raises the error
                return self.frame, self.choose
            alpha = _matte(self.choose, first)
            if not alpha.any():
                return self.frame, self.choose
            after = self.find_parting(map(reduce_picture, chain([first], ahead)), alpha)
        reach = PARTING_REACH if after is None else after[0] - 1
        with self.open_clip() as clip:
            seen = islice(clip, max(0, self.frame - reach), self.frame + 1)
            # in 8 bits, at most 60 MB
            back = [(reduce_picture(picture[None]) * 255).round().byte() for _, picture in seen]
        before = self.find_parting((picture.float() / 255 for picture in reversed(back)), alpha)
        for found, way in ((before, -1), (after, 1)):
            if found is not None:
                return self.frame + way * found[0], found[1]
        return self.frame, lambda picture: alpha

    def _begin(self, saved: SavedMattes, start: int, choose: Choose, follower: Follower, picture: Tensor
               ) -> Tensor:
        """Begin in the frame `start`; backwards first, and forwards with the same matte."""
        if start not in saved:
            saved.write(start, _matte(choose, picture))
        alpha = saved.read(start).to(picture.device)
        try:
            follower.begin(picture, alpha)
        except ValueError:
            raise VideoError(f"Point at a subject: none was found in frame {self.frame}, where it is "
                             "chosen") from None
        return alpha

    def _follow(self, follower: Follower, number: int, picture: Tensor) -> Tensor:
        alpha = follower(picture)
        if follower.lost:
            self.lost.append(number)
        return alpha

    def _go_back(self, saved: SavedMattes, start: int, begin: Callable[[Follower, Tensor], Tensor]) -> None:
        """Follow backwards from the frame `start`, or from where an earlier run was stopped."""
        follower, last = None, start + 1
        if saved.state is not None:
            follower, last = self._restore(saved.state), saved.state["frame"]
        with self.open_clip() as clip:
            frames = max(2, CHUNK_BYTES // (clip.height * clip.width * 3 * 4))
        for stop in range(last, 0, -frames) if start else ():
            first = max(0, stop - frames)
            with self.open_clip() as clip:
                chunk = [picture for _, picture in islice(clip, first, stop)]
            if follower is None:
                if len(chunk) < stop - first:
                    raise self._no_such_frame(first + len(chunk))
                follower = self.new_follower()
                begin(follower, chunk.pop()[None])
            while chunk:
                number, picture = first + len(chunk) - 1, chunk.pop()[None]
                saved.write(number, self._follow(follower, number, picture))
                if number % SAVE_EVERY_FRAMES == 0:
                    self._save(saved, follower, start, number, forwards=False)
                self.progress(start - number, start)

    def _no_such_frame(self, count: int) -> VideoError:
        """The error for a clip of `count` frames, which lacks the prompt's."""
        return VideoError(f"Choose the subject in an earlier frame than {self.frame}: the video has {count}, "
                          "counted from 0")

    def _save(self, saved: SavedMattes, follower: Follower, start: int, number: int, *, forwards: bool
              ) -> None:
        if self.folder is not None:
            saved.save({"begin": start, "lost": self.lost, "frame": number, "forwards": forwards,
                       "follower": follower.state_dict()})

    def _restore(self, state: dict) -> Follower:
        follower = self.new_follower()
        follower.load_state_dict(state["follower"])
        return follower


def _matte(choose: Choose, picture: Tensor) -> Tensor:
    """The chosen subject's matte; raises VideoError if the prompt lies outside of the picture."""
    try:
        return choose(picture)
    except ValueError as error:
        raise VideoError(str(error)) from None
