"""Matte Video inside the host: every output from every kind of VIDEO, sound kept, nothing half-written."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from host import PACK, iou
from known import LEAST_IOU, MASK, PHOTO
from PIL import Image
from workflow import load, node

sys.path.insert(0, str(PACK / "tests" / "video"))  # clips

from clips import frames, frequency, set_display_matrix, write  # noqa: E402

WIDTH, HEIGHT, FRAMES = 240, 288, 4
OUTPUTS = {"over a colour": ".mp4", "over a background": ".mp4", "transparent webm": ".webm",
           "transparent mov": ".mov", "mask": ".mp4"}


def shrunk(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def known_mask() -> np.ndarray:
    return shrunk(MASK)[..., 0] / 255


@pytest.fixture(scope="module")
def clip(host, tmp_path_factory) -> str:
    """The name in the host of a clip of the photograph whose mask is known, with a tone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return host.upload(write(path, [shrunk(PHOTO)] * FRAMES, sound="aac", seconds=FRAMES / 25))


def matted(source: dict, **changes) -> dict:
    inputs = {"model": ["model", 0], "video": ["video", 0], "output": "over a colour", "colour": "#00b140",
              "fit": "fill", "quality": "high", "clean_edges": True, "smoothing": 0.0, "size": 0,
              "frames_per_pass": 0,
              "filename_prefix": "video/test"} | changes
    return {"model": load(), "video": source, "matted": node("BiRefVideo", **inputs),
            "path": node("PreviewAny", source=["matted", 1])}


def result(host, workflow: dict) -> Path:
    return Path(host.run(workflow)["outputs"]["path"]["text"][0])


def files(host) -> set[Path]:
    """Everything in the output folder, hidden files too."""
    return {path for path in (host.base / "output").rglob("*") if path.is_file()}


def alpha_of(path: Path) -> np.ndarray:
    """[H,W] in 0..1 of the middle frame, from a VP9 or ProRes file with alpha."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.name == "vp9":
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            shown = [frame for packet in container.demux(stream)
                     for frame in decoder.decode(packet if packet.size else None)]
        else:
            shown = list(container.decode(stream))
    return shown[len(shown) // 2].to_ndarray(format="rgba")[..., 3] / 255


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_kind_of_file(host, clip, known_mask, photo, output):
    workflow = matted(node("LoadVideo", file=clip), output=output)
    if output == "over a background":
        workflow["behind"] = node("LoadImage", image=photo)
        workflow["matted"]["inputs"]["background_image"] = ["behind", 0]
    record = host.run(workflow)
    path = Path(record["outputs"]["path"]["text"][0])
    assert path.is_file() and path.suffix == OUTPUTS[output] and path.parent == host.base / "output" / "video"
    assert frequency(path) == pytest.approx(440, abs=8)
    shown = frames(path)
    assert len(shown) == FRAMES and (shown[0].width, shown[0].height) == (WIDTH, HEIGHT)
    pixels = shown[1].to_ndarray(format="rgb24") / 255
    if output == "mask":
        assert iou(pixels[..., 0], known_mask) > LEAST_IOU
    elif output.startswith("transparent"):
        assert iou(alpha_of(path), known_mask) > LEAST_IOU
    elif output == "over a colour":
        green = np.abs(pixels - np.array([0, 177, 64]) / 255).max(-1) < 0.04
        assert iou(1 - green, known_mask) > LEAST_IOU - 0.15  # soft edges are not green either
        assert green[-8:, :8].all()
    if path.suffix == ".mov":
        assert "ProRes" in record["outputs"]["matted"]["text"][0]
    else:
        preview, = record["outputs"]["matted"]["images"]
        assert host.fetch(f"/view?filename={preview['filename']}&subfolder={preview['subfolder']}&type=output"
                          ) == path.read_bytes()
    assert not [file for file in files(host) if file.name.startswith(".")]


def test_another_codec_and_pixels_that_are_not_square(host, tmp_path):
    wide = host.upload(write(tmp_path / "wide.mkv", [shrunk(PHOTO)] * 2, codec="libx264",
                             pixels="yuv420p10le",
                             tags={"sample_aspect_ratio": Fraction(4, 3)}))
    shown = frames(result(host, matted(node("LoadVideo", file=wide), codec="h265")))
    assert shown[0].format.name == "yuv420p10le" and (shown[0].width, shown[0].height) == (WIDTH, HEIGHT)
    record = host.run(matted(node("LoadVideo", file=wide), output="transparent webm"))
    assert "stretched from 240×288 to 320×288" in record["outputs"]["matted"]["text"][0]
    assert frames(Path(record["outputs"]["path"]["text"][0]))[0].width == WIDTH * 4 // 3


def test_a_png_sequence_is_a_folder(host, clip, known_mask):
    record = host.run(matted(node("LoadVideo", file=clip), output="png sequence"))
    folder = Path(record["outputs"]["path"]["text"][0])
    assert sorted(file.name for file in folder.iterdir()) == [f"{i + 1:05}.png" for i in range(FRAMES)]
    with Image.open(folder / "00002.png") as picture:
        assert picture.mode == "RGBA"
        assert iou(np.asarray(picture)[..., 3] / 255, known_mask) > LEAST_IOU
    assert [image.size for image in host.pictures(record)["matted"]] == [(WIDTH, HEIGHT)] * 3


def test_a_video_made_of_pictures(host, photo):
    """Frames in memory with a rate of their own and no file behind them."""
    source = {"picture": node("LoadImage", image=photo),
              "scaled": node("ImageScale", image=["picture", 0], upscale_method="area", width=97, height=115,
                             crop="disabled"),
              "batch": node("RepeatImageBatch", image=["scaled", 0], amount=3)}
    workflow = matted(node("CreateVideo", images=["batch", 0], fps=12.5)) | source
    shown = frames(result(host, workflow))
    assert [round(frame.time, 3) for frame in shown] == [0, 0.08, 0.16]
    assert (shown[0].width, shown[0].height) == (98, 116)  # H.264 wants even sides


def test_the_result_goes_on_as_a_video(host, clip):
    workflow = matted(node("LoadVideo", file=clip)) | {
        "parts": node("GetVideoComponents", video=["matted", 0]),
        "shown": node("PreviewImage", images=["parts", 0])}
    assert len(host.run(workflow)["outputs"]["shown"]["images"]) == FRAMES


def test_a_trimmed_video(host, clip, object_info):
    if "Video Slice" not in object_info:
        pytest.skip("this host cannot trim videos")
    workflow = matted({}) | {
        "file": node("LoadVideo", file=clip),
        "video": node("Video Slice", video=["file", 0], start_time=0.04, duration=0.08,
                      strict_duration=False)}
    assert len(frames(result(host, workflow))) == 2


def test_turned_and_uneven_as_cameras_write_it(host, tmp_path):
    path = write(tmp_path / "turned.mp4", [shrunk(PHOTO)] * 3, times=[0, 10, 45], tick=Fraction(1, 100))
    set_display_matrix(path, 0, 1, -1, 0)
    shown = frames(result(host, matted(node("LoadVideo", file=host.upload(path)))))
    assert [round(frame.time, 3) for frame in shown] == [0, 0.1, 0.45]
    assert (shown[0].width, shown[0].height, shown[0].rotation) == (HEIGHT, WIDTH, 0)


def test_a_video_as_background_and_smoothing(host, clip, tmp_path):
    red = np.zeros((60, 80, 3), np.uint8)
    red[..., 0] = 220
    behind = host.upload(write(tmp_path / "red.mp4", [red] * 2))
    workflow = matted(node("LoadVideo", file=clip), output="over a background", smoothing=0.6,
                      background_video=["behind", 0]) | {"behind": node("LoadVideo", file=behind)}
    for frame in frames(result(host, workflow)):  # twice as many frames as the background has
        corner = frame.to_ndarray(format="rgb24")[-6:, :6].mean((0, 1))
        np.testing.assert_allclose(corner, [220, 0, 0], atol=10)


def test_the_workflow_is_in_the_file(host, clip):
    workflow = matted(node("LoadVideo", file=clip))
    with av.open(str(result(host, workflow))) as container:
        assert json.loads(container.metadata["prompt"])["matted"]["class_type"] == "BiRefVideo"


def test_files_are_numbered(host, clip):
    names = [result(host,
                    matted(node("LoadVideo", file=clip), filename_prefix="one/count", quality=quality)).name
             for quality in ("medium", "small")]
    assert names == ["count_00001_.mp4", "count_00002_.mp4"]


BAD = {
    "text": (b"Dear diary", ["expected a video"]),
    "empty": (b"", ["empty"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_video(host, case):
    content, words = BAD[case]
    (host.base / "input" / f"{case}.mp4").write_bytes(content)
    before = files(host)
    message = host.fail(matted(node("LoadVideo", file=f"{case}.mp4")))
    assert all(word in message for word in ["BiRefVideo", *words]), message
    assert files(host) == before


def test_sound_without_a_picture(host, tmp_path):
    path = write(tmp_path / "sound.mp4", [], sound="aac", seconds=0.5)
    assert "only sound" in host.fail(matted(node("LoadVideo", file=host.upload(path))))


def test_a_background_must_be_connected(host, clip):
    message = host.fail(matted(node("LoadVideo", file=clip), output="over a background"))
    assert "background_image" in message


@pytest.mark.parametrize(("colour", "word"), [("no colour", "expected a colour"), ("#00b14080", "opaque")])
def test_a_colour_that_cannot_be(host, clip, colour, word):
    assert word in host.fail(matted(node("LoadVideo", file=clip), colour=colour))


def test_a_folder_that_cannot_be_made(host, clip):
    (host.base / "output").mkdir(exist_ok=True)
    (host.base / "output" / "taken").write_text("a file")
    message = host.fail(matted(node("LoadVideo", file=clip), filename_prefix="taken/name"))
    assert "taken/name" in message and "cannot be" in message, message


def test_an_interrupt_leaves_no_file_and_the_queue_lives_on(host, tmp_path):
    path = host.upload(write(tmp_path / "long.mp4", [shrunk(PHOTO)] * 100))
    before = files(host)
    reached = []

    def stop_at_the_third(event: str, data: dict) -> None:
        if event == "progress" and data["node"] == "matted":
            reached.append((data["value"], data["max"]))
            if data["value"] >= 3 and len([value for value, _ in reached if value >= 3]) == 1:
                host.interrupt()

    record = host.watch(matted(node("LoadVideo", file=path)), stop_at_the_third)
    assert "execution_interrupted" in [event for event, _ in record["status"]["messages"]]
    assert reached[-1][0] < 60 and reached[-1][1] == 100
    assert files(host) == before


@pytest.mark.parametrize("chosen", [
    {"points": '[{"x": 275, "y": 140}]'},
    {"bboxes": [[], [], [{"x": 227, "y": 85, "width": 122, "height": 112}], []]},
    {"points": '[{"x": 275, "y": 140}]', "bboxes": [[], [], [], []]},
])
def test_one_subject_of_two_is_followed_from_any_frame(host, tmp_path, chosen):
    """The pair moves to the left; the cup is chosen in frame 2 and found in all, without the astronaut."""
    data = PACK / "tests" / "data"
    with Image.open(data / "pair.jpg") as pair, Image.open(data / "pair_coffee_mask.png") as mask:
        picture, cup = np.asarray(pair.resize((400, 214))), np.asarray(mask.resize((400, 214))) / 255
    moving = write(tmp_path / "pair.mp4", [picture[:, 4 * i:4 * i + 360] for i in range(FRAMES)])
    workflow = matted(node("LoadVideo", file=host.upload(moving)), output="mask", frame=2, **chosen)
    if "bboxes" in chosen:
        workflow["given"] = node("OddBoxes", boxes=json.dumps(chosen["bboxes"]))
        workflow["matted"]["inputs"]["bboxes"] = ["given", 0]
    found = frames(result(host, workflow))
    assert len(found) == FRAMES
    for i, frame in enumerate(found):
        assert iou(frame.to_ndarray(format="gray") / 255, cup[:, 4 * i:4 * i + 360]) > LEAST_IOU, i


@pytest.mark.parametrize("bboxes, frame, words", [([], 0, "they hold no box for frame 0"),
                                                  ([[], []], 2, "Set frame to 0 to 1")])
def test_a_detector_that_found_nothing_is_not_taken_for_everything(host, clip, bboxes, frame, words):
    workflow = matted(node("LoadVideo", file=clip), bboxes=["given", 0], frame=frame)
    message = host.fail(workflow | {"given": node("OddBoxes", boxes=json.dumps(bboxes))})
    assert words in message
