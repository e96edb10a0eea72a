"""A subject chosen in any frame: the frames before it are followed backwards, in chunks, and all come out in
order."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from birefnet import video
from birefnet.video import following as room


class Counting:
    """A follower whose matte is the frame's own number, as its picture says, and which loses frames that are
    black."""

    made: list[Counting] = []

    def __init__(self) -> None:
        self.seen, self.lost = [], False
        self.made.append(self)

    def state_dict(self) -> dict:
        return {"last": self.seen[-1]}

    def load_state_dict(self, state: dict) -> None:
        self.seen.append(f"after {state['last']}")

    def begin(self, picture: torch.Tensor, alpha: torch.Tensor) -> None:
        if alpha.max() < 0.5:
            raise ValueError
        self.seen.append(number(picture))

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        self.seen.append(number(picture))
        self.lost = number(picture) == 0
        return picture[..., 0]


def number(picture: torch.Tensor) -> int:
    return round(float(picture.mean()) * 100)


@pytest.fixture
def clip():
    Counting.made = []
    frames = torch.arange(9).float().div(100)[:, None, None, None].expand(-1, 4, 6, 3)
    return lambda: video.TensorClip(frames, Fraction(25))


def followed(clip, frame: int, choose=lambda picture: torch.ones(1, 4, 6)) -> tuple[list, video.Following]:
    following = video.Following(clip, choose, Counting, frame)
    return list(following(picture for _, picture in clip())), following


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 1 << 28])
@pytest.mark.parametrize("frame", [0, 1, 4, 8])
def test_every_frame_once_in_order_whatever_the_chunks(clip, monkeypatch, frame, chunk_bytes):
    monkeypatch.setattr(room, "CHUNK_BYTES", chunk_bytes)
    pairs, following = followed(clip, frame)
    assert [number(picture) for picture, _ in pairs] == list(range(9))
    for i, (_, alpha) in enumerate(pairs):
        expected = 1.0 if i == frame else i / 100
        assert torch.allclose(alpha, torch.full((1, 4, 6), expected), atol=1 / 65535)
    back, forth = list(range(frame, -1, -1)), list(range(frame, 9))
    assert [way.seen for way in Counting.made] == ([back, forth] if frame else [forth])
    assert following.lost == ([0] if frame else [])


@pytest.mark.parametrize("frame", [9, 40])
def test_a_frame_that_the_clip_has_not(clip, frame):
    with pytest.raises(video.VideoError, match="^Choose the subject in an earlier frame than"):
        followed(clip, frame)


@pytest.mark.parametrize("frame", [0, 3])
def test_no_subject_where_it_is_chosen(clip, frame):
    with pytest.raises(video.VideoError, match=f"^Point at a subject: none was found in frame {frame}"):
        followed(clip, frame, lambda picture: torch.zeros(1, 4, 6))


@pytest.mark.parametrize("after, before, begins", [(3, 2, 2), (2, 3, 6), (2, 2, 6), (3, None, 7),
                                                   (None, 4, 0), (None, None, 4)])
def test_it_begins_at_the_nearest_frame_where_what_was_chosen_comes_apart(clip, after, before, begins):
    """Chosen in frame 4; after, before: in how many frames from there it comes apart."""
    seen, answers = [], [after, before]

    def find_parting(pictures, alpha):
        assert alpha.shape == (1, 4, 6) and alpha.min() == 1
        numbers, steps = [number(picture) for picture in pictures], answers[len(seen)]
        seen.append(numbers)
        apart = steps is not None and len(numbers) > steps
        return (steps, lambda picture: torch.full((1, 4, 6), 0.9)) if apart else None

    following = video.Following(clip, lambda picture: torch.ones(1, 4, 6), Counting, 4,
                                find_parting=find_parting)
    pairs = list(following(picture for _, picture in clip()))
    # backwards not farther than forwards
    assert seen == [[4, 5, 6, 7, 8], [4, 3, 2, 1, 0][:after]]
    assert [number(picture) for picture, _ in pairs] == list(range(9))
    assert {way.seen[0] for way in Counting.made} == {begins}
    assert float(pairs[begins][1].mean()) == pytest.approx(1.0 if begins == 4 else 0.9, abs=1e-4)


def test_it_can_be_iterated_again(clip):
    """Also where it began in another frame than the prompt's."""
    def find_parting(pictures, alpha):
        return 2, lambda picture: torch.full((1, 4, 6), 0.9)

    following = video.Following(clip, lambda picture: torch.ones(1, 4, 6), Counting, 4,
                                find_parting=find_parting)
    first, second = ([alpha for _, alpha in following(picture for _, picture in clip())] for _ in range(2))
    assert torch.equal(torch.cat(first), torch.cat(second)) and following.lost == [0]


def test_an_error_names_the_frame_that_was_chosen(clip):
    """Not the one in which following begins."""
    empty = torch.zeros(1, 4, 6)
    following = video.Following(clip, lambda picture: torch.ones(1, 4, 6), Counting, 4,
                                find_parting=lambda pictures, alpha: (2, lambda picture: empty))
    with pytest.raises(video.VideoError, match="^Point at a subject: none was found in frame 4,"):
        list(following(picture for _, picture in clip()))


# Stopped and resumed ----------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.mark.parametrize("frame", [0, 4, 8])
@pytest.mark.parametrize("calls", range(8))
def test_a_stopped_run_goes_on_and_gives_the_same(clip, tmp_path, monkeypatch, frame, calls):
    """Stopped after so many frames, of the way back and the way forth together."""
    monkeypatch.setattr(room, "SAVE_EVERY_FRAMES", 2)

    class Stopping(Counting):
        left = calls

        def __call__(self, picture: torch.Tensor) -> torch.Tensor:
            if not Stopping.left:
                raise Stopped
            Stopping.left -= 1
            return super().__call__(picture)

    def follow(follower: type, key: str = "this clip") -> tuple[list, video.Following]:
        following = video.Following(clip, lambda picture: torch.ones(1, 4, 6), follower, frame,
                                    folder=tmp_path / "kept", key=key)
        return list(following(picture for _, picture in clip())), following

    with pytest.raises(Stopped):
        follow(Stopping)
    Counting.made = []
    pairs, following = follow(Counting)
    seen = [one for way in Counting.made for one in way.seen if isinstance(one, int)]
    assert [number(picture) for picture, _ in pairs] == list(range(9))
    for i, (_, alpha) in enumerate(pairs):
        assert torch.allclose(alpha, torch.full((1, 4, 6), 1.0 if i == frame else i / 100), atol=1 / 65535)
    assert following.lost == ([0] if frame else [])
    assert len(seen) <= 10 - max(0, calls - 1)  # at most the last frame again, and the first for both ways
    assert (following.resumed > 0) == (calls > 1 or frame == 0)
    assert follow(Counting, "another clip")[1].resumed == 0
