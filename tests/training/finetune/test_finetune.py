"""What fine-tuning teaches, what it leaves alone, what it says of itself; on a build small enough for
tests."""

from __future__ import annotations

import pytest
import torch

import birefnet
from birefnet.device.passes import OutOfMemory
from birefnet.training import finetune as lessons
from birefnet.training.curve import draw_curve
from birefnet.training.finetune import finetune
from birefnet.training.low_rank import LowRankLinear

TINY = birefnet.Config(family="pvt_v2", widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2),
                       multi_scale="none", attention="plain", inner=8, branch=8, patch_inner=4, gate=4,
                       size=(64, 64))
RATES = {"head": 3e-3, "lora": 3e-2, "all": 3e-3}  # high, for few steps on fresh weights


def model() -> birefnet.BiRefNet:
    torch.manual_seed(0)
    return birefnet.BiRefNet(TINY).initialize().eval()


@pytest.fixture(scope="module")
def pairs():
    """Four pictures with a bright square, three of one size and one of another."""
    random = torch.Generator().manual_seed(1)
    images, masks = [], []
    for height, width in ((64, 64), (64, 64), (80, 56), (64, 64)):
        mask = torch.zeros(height, width)
        top, left = (int(torch.randint(0, side - 30, (), generator=random)) for side in (height, width))
        mask[top:top + 30, left:left + 30] = 1
        grain = 0.05 * torch.randn(height, width, 3, generator=random)
        images.append((0.3 + 0.4 * mask[..., None] + grain).clamp(0, 1))
        masks.append(mask)
    return images, masks


def state(network: birefnet.BiRefNet) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("what", ["head", "lora", "all"])
def test_the_loss_falls_and_only_what_is_told_learns(pairs, what):
    network = model()
    before, heard = state(network), []
    tuned = finetune(network, *pairs, what=what, steps=15, rate=RATES[what],
                     report=lambda *told: heard.append(told))
    assert [step for step, _ in heard] == list(range(1, 16)) and [loss for _, loss in heard] == tuned.losses
    assert tuned.loss < {"head": 0.9, "lora": 0.97, "all": 0.9}[what] * sum(tuned.losses[:3]) / 3
    changed = {name for name, tensor in tuned.model.state_dict().items()
               if name not in before or not torch.equal(tensor, before[name])}
    assert changed
    if what == "head":
        assert all(name.startswith("decoder.") for name in changed)
    if what == "lora":
        assert all(".lora_" in name for name in changed)
    if what == "all":
        assert {name.split(".")[0] for name in changed} == {"bb", "squeeze_module", "decoder"}
    assert not any("running_" in name for name in changed), "batch norm keeps its statistics"


@pytest.mark.parametrize("what", ["head", "lora"])
def test_an_adapter_on_the_base_is_the_tuned_network(pairs, what, tmp_path):
    base = {name: tensor for name, tensor in state(model()).items() if tensor.is_floating_point()}
    tuned = finetune(model(), *pairs, what=what, steps=10, rate=RATES[what], rank=2)
    told = {"size": 64, "heads": TINY.heads}
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    expected = birefnet.matte(tuned.model, image)
    tuned.adapter.save(tmp_path / "a.safetensors")
    change = (expected - birefnet.matte(birefnet.load(base, **told), image)).abs().max()
    assert change > 0.002
    for adapter in (tuned.adapter, tmp_path / "a.safetensors"):
        found = birefnet.matte(birefnet.load(base, adapters=[(adapter, 1.0)], **told), image)
        # the adapter's tensors are stored in half precision
        assert (found - expected).abs().max() < 0.02 * change
    about = tuned.adapter.metadata
    assert about["birefnet.adapter"] == what and about["birefnet.base"] == TINY.describe()
    assert ("birefnet.rank" in about) == (what == "lora")


def test_a_seed_decides_every_number(pairs):
    runs = [finetune(model(), *pairs, steps=2, seed=seed).losses for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_every_linear_layer_of_the_backbone_gets_a_pair(pairs):
    tuned = finetune(model(), *pairs, what="lora", steps=1, rank=3)
    linears = [module for module in tuned.model.modules() if isinstance(module, torch.nn.Linear)]
    pairs_of = [module for module in linears if isinstance(module, LowRankLinear)]
    assert len(pairs_of) == 4 * 5  # q, kv, proj, fc1 and fc2 of each block
    assert {len(module.lora_A.weight) for module in pairs_of} == {3}


def test_memory_that_runs_out_halves_the_batch_and_changes_no_number(pairs):
    """A network with room for one picture at a time."""
    whole, relieved = finetune(model(), *pairs, steps=2, batch=4).losses, []
    network = model()

    def room_for_one(module, inputs):
        if len(inputs[0]) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    network.bb.register_forward_pre_hook(room_for_one)
    pieces = finetune(network, *pairs, steps=2, batch=4, relieve=lambda: relieved.append(1)).losses
    assert len(relieved) == 2  # four, two, one
    assert pieces == pytest.approx(whole, rel=0.02)


def test_no_room_for_one_picture_is_a_sentence(pairs):
    network = model()

    def none(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    network.bb.register_forward_pre_hook(none)
    with pytest.raises(OutOfMemory, match="^Choose a smaller size, .* one picture at a time"):
        finetune(network, *pairs, steps=1)


@pytest.mark.parametrize("spoil, words", [
    (lambda i, m: {"what": "neck"}, "^Set what to one of 'head', 'lora', 'all'"),
    (lambda i, m: {"images": i[:3]}, "^Connect .*: got 3 pictures and 4 masks"),
    (lambda i, m: {"images": [], "masks": []}, "got 0 pictures"),
    (lambda i, m: {"masks": [mask[1:] for mask in m]}, r"^Resize .* a picture \[64, 64, 3\] and a mask \[63, "
                                                       r"64\]"),
    (lambda i, m: {"masks": [0 * mask for mask in m]}, "^Connect masks .* or invert them"),
    (lambda i, m: {"steps": 0}, "^Set steps, rank and batch to 1 or more"),
])
def test_what_cannot_be_learned_from_is_a_sentence(pairs, spoil, words):
    given = {"images": pairs[0], "masks": pairs[1]} | spoil(*pairs)
    with pytest.raises(ValueError, match=words):
        finetune(model(), **given)


def test_what_is_seen_is_the_picture_and_its_own_mask(pairs):
    """Whatever the crop, the square in the mask lies where the picture is bright."""
    random = torch.Generator().manual_seed(2)
    for image, mask in zip(*pairs):
        seen, alpha = lessons.draw_view(image, mask, (64, 96), random)
        assert seen.shape == (1, 3, 64, 96) and alpha.shape == (1, 1, 64, 96)
        assert 0 <= seen.min() and seen.max() <= 1 and 0 <= alpha.min() and alpha.max() <= 1
        inside = seen.mean(1, keepdim=True)
        assert inside[alpha > 0.9].min() > inside[alpha < 0.1].mean()


def test_every_picture_is_seen_before_one_is_seen_again():
    images = [torch.full((8, 8, 3), 0.1 * i) for i in range(6)]
    masks = [torch.full((8, 8), i / 6) for i in range(6)]
    batches = lessons.draw_batches(images, masks, (64, 64), 2, seed=0)
    seen = [round(alpha.mean().item() * 6) for _ in range(3) for alpha in next(batches)[1]]
    assert sorted(seen) == list(range(6))


@pytest.mark.parametrize("step, share", [(0, 0.2), (4, 1.0), (5, 1.0), (52, 0.5), (99, 0.0)])
def test_the_rate_rises_and_falls(step, share):
    assert lessons.schedule(step, 100) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("losses", [[50.0], [40.0, 30.0], [100 / (1 + i) for i in range(300)]])
def test_the_curve_is_drawn_from_left_to_right(losses):
    picture = draw_curve(losses)
    assert picture.shape == (1, 256, 512, 3) and 0 <= picture.min() and picture.max() <= 1
    blue = (picture[0, ..., 2] - picture[0, ..., 0] > 0.3).nonzero()
    if len(losses) > 2:  # falling: the left end is above the right end
        assert blue[blue[:, 1].argmin(), 0] < blue[blue[:, 1].argmax(), 0]
