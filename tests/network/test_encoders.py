"""Encoders other than the authors' usual two: timm's, EfficientNet-Lite without timm, DINOv3."""

import dataclasses
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_build import random_state

import birefnet
from birefnet import Adapter, CheckpointError, Config, activation_bytes
from birefnet.checkpoint.load import undetermined_settings as told
from birefnet.network import builds
from birefnet.network.backbones import FAMILIES
from birefnet.network.backbones.efficientnet_lite import SCALES, EfficientNetLite, FusedEfficientNetLite
from birefnet.network.backbones.timm import find_foldable, parse_encoder
from birefnet.training import low_rank
from birefnet.training.recompute import recompute_blocks

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "tests" / "data" / "coffee.jpg"
SMALL = {"kernels": (1, 3), "inner": 8, "branch": 8, "patch_inner": 8, "gate": 4, "size": (64, 64)}


def on(encoder: str, **change: object) -> Config:
    """A small decoder on one of timm's encoders."""
    return dataclasses.replace(builds.config(f"timm:{encoder}"), **{**SMALL, **change})


LITE = on("tf_efficientnet_lite0")
PLAIN = {"attention": "plain", "kernels": (1, 3, 7), "residual": True}
DINO = Config(family="dino_v3", widths=(32,) * 4, depths=(2,) * 4, heads=(2,) * 4, mlp_ratios=(2,) * 4,
              neck=(8, 16, 24, 40), **SMALL)
TIMM = on('{"name": "resnet10t", "act_layer": "silu"}')
BUILDS = {
    "lite": LITE, "lite, one look": on("tf_efficientnet_lite2", multi_scale="none", **PLAIN),
    "lite, added": dataclasses.replace(LITE, multi_scale="add"),
    "timm": TIMM, "timm without batch norms": on("convnext_atto", multi_scale="none"),
    "dino": DINO,
    "dino, one look": dataclasses.replace(DINO, multi_scale="none", gated_mlp=True, batch_norm=False),
    "dino, added": dataclasses.replace(DINO, multi_scale="add"),
}
QUICK = LITE, TIMM, DINO
EACH = pytest.mark.parametrize("config", [
    pytest.param(config, id=name, marks=[] if config in QUICK else [pytest.mark.slow])
    for name, config in BUILDS.items()])
KINDS = pytest.mark.parametrize("config", QUICK, ids=["lite", "timm", "dino"])
FORMS = pytest.mark.parametrize("form", [pytest.param("plain", marks=pytest.mark.slow), "inference"])


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape or (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))


@EACH
def test_both_forms_agree_in_pieces_of_every_size(config):
    """Maps of odd sides too: half of 96 has 3 positions at stride 16."""
    state = random_state(config)
    plain, inference = (birefnet.load(state, form=form, **told(config)) for form in ("plain", "inference"))
    for x in (image(2, 3, 64, 96), image(1, 3, 192, 64)):
        with torch.inference_mode():
            expected = plain(x)
            for budget in (None, 1 << 30, 0):
                inference.budget_bytes = budget
                assert torch.allclose(inference(x), expected, atol=3e-5), budget


@EACH
def test_a_saved_file_tells_its_build(config, tmp_path):
    model = birefnet.BiRefNet(config).initialize().eval()
    birefnet.save(model, tmp_path / "a.safetensors")
    loaded = birefnet.load(tmp_path / "a.safetensors", form="plain")
    assert loaded.config == config
    with torch.inference_mode():
        assert torch.equal(loaded(image()), model(image()))


@KINDS
def test_tensors_and_their_settings_give_the_same_build_as_a_file(config):
    config = dataclasses.replace(config, size=None, normalize="none", patch_order="colour-fastest")
    assert birefnet.load(random_state(config), **told(config)).config == config


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@FORMS
def test_half_precisions(config, dtype, form):
    state = random_state(config)
    half = birefnet.load(state, dtype=dtype, form=form, **told(config))
    full = birefnet.load(state, **told(config))
    with torch.inference_mode():
        off = (half(image().to(half.input_dtype)).float().sigmoid() - full(image()).sigmoid()).abs()
    assert off.mean() < (0.02 if dtype == torch.bfloat16 else 0.003)


@KINDS
def test_they_can_be_taught_with_and_without_checkpointing(config):
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        model = birefnet.BiRefNet(config).initialize().eval()
        if again:
            assert model.family.blocks_of(model.bb)
            recompute_blocks(model)
        outputs = model.forward_train(image())
        sum(x.square().mean() for x in (outputs.logits, *outputs.side, *outputs.gradient)).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert any(name.startswith("bb.") for name in gradients[0])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


@KINDS
@FORMS
def test_low_rank_adapters_merge_into_them(config, form):
    state = random_state(config)
    learned = birefnet.load(state, form="plain", **told(config))
    pairs = low_rank.make_low_rank(learned, 2, 3.0, seed=5)
    with torch.inference_mode():
        assert torch.equal(learned(image()), birefnet.load(state, form="plain", **told(config))(image()))
    generator = torch.Generator().manual_seed(1)
    size = 0.1 if config is LITE else 0.3  # of sixty layers on top of each other, and of few
    for pair in pairs:
        pair.data = size * torch.randn(pair.shape, generator=generator).half().float()
    adapter = Adapter(low_rank.extract_low_rank(learned),
                      {"birefnet.adapter": "lora", "birefnet.alpha": "3.0"})
    merged = birefnet.load(state, form=form, adapters=[(adapter, 1)], **told(config))
    with torch.inference_mode():
        assert (merged(image()) - learned(image())).abs().max() < 2e-3
        assert (merged(image()) - birefnet.load(state, form=form, **told(config))(image())).abs().max() > 0.01


@KINDS
@FORMS
def test_memory_is_estimated_for_the_size(config, form):
    model = birefnet.load(random_state(config), form=form, **told(config))
    small, large = (activation_bytes(model, (side, side)) for side in (512, 2048))
    assert 0 < small < large
    assert activation_bytes(model, (512, 512), 3) > small


@EACH
def test_every_family_names_its_encoder(config):
    encoder = parse_encoder(config.encoder or "none")[0]
    assert config.backbone == {"dino_v3": "dino_v3 32-32-32-32"}.get(config.family, encoder)


@pytest.mark.slow
def test_builds_of_every_name_can_be_built():
    for name, family in builds.BACKBONES.items():
        with torch.device("meta"):
            model = birefnet.BiRefNet(builds.config(name))
        assert model.config.backbone == name and model.family is FAMILIES[family.name]


# EfficientNet-Lite, timm's numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if i else [])
                                  for i, name in enumerate(SCALES)])
def test_efficientnet_lite_is_timms(name):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
    ours = EfficientNetLite(name)
    state = {key: 1 + 0.3 * torch.rand_like(value) if value.ndim == 1 else value
             for key, value in theirs.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    for model in (theirs, ours):
        model.load_state_dict(state)
    fused = FusedEfficientNetLite(ours.eval(), lambda modules, build: build()).eval()
    for size in ((64, 96), (48, 80)):
        x = image(2, 3, *size)
        with torch.inference_mode():
            for expected, plain, maps in zip(theirs.eval()(x), ours.eval()(x), fused(x)):
                assert torch.equal(plain, expected)
                assert torch.allclose(maps, expected, atol=1e-4 * expected.abs().max().item())
    for expected, plain in zip(theirs.train()(x), ours.train()(x)):
        assert torch.allclose(plain, expected, atol=1e-5)
    statistics = "blocks.3.0.bn2.running_var"
    assert torch.allclose(theirs.state_dict()[statistics], ours.state_dict()[statistics])


WITHOUT_TIMM = """
    import sys
    from pathlib import Path
    {missing}
    import birefnet
    from birefnet.imaging import pictures

    alpha = birefnet.matte(birefnet.load(sys.argv[1]), pictures.read(Path(sys.argv[2])))
    print(tuple(alpha.shape), bool(alpha.isfinite().all()))
    try:
        birefnet.load(sys.argv[3])
    except birefnet.CheckpointError as error:
        print(error)
"""
MISSING = {'Install timm for the encoder resnet10t: pip install "timm>=': "sys.modules['timm'] = None",
           "the installed one fails with ImportError: broken by an update": """\
    import importlib.abc
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name == "timm":
                raise ImportError("broken by an update")
    sys.meta_path.insert(0, Broken())"""}


@pytest.mark.slow
@pytest.mark.parametrize("sentence", MISSING)
def test_efficientnet_lite_cuts_where_timm_is_missing_or_broken(sentence, tmp_path):
    files = []
    for name, config in (("lite", LITE), ("timm", TIMM)):
        files.append(tmp_path / f"{name}.safetensors")
        birefnet.save(birefnet.BiRefNet(config).initialize(), files[-1])
    script = textwrap.dedent(WITHOUT_TIMM).replace("{missing}", textwrap.dedent(MISSING[sentence]))
    run = subprocess.run([sys.executable, "-c", script, files[0], PHOTO, files[1]], cwd=ROOT,
                         capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    cut, refused = run.stdout.splitlines()
    assert cut == "(1, 400, 600) True"
    assert sentence in refused


# What a file may say ----------------------------------------------------------------------------------------


def test_an_efficientnet_lite_is_known_by_its_tensors_and_another_encoder_is_never_guessed():
    state = random_state(LITE)
    assert birefnet.load(state).config.encoder == LITE.encoder
    state["bb.conv_stem.weight"] = state["bb.conv_stem.weight"][:16]
    with pytest.raises(CheckpointError, match="^Name this BiRefNet's encoder: .*birefnet.encoder"):
        birefnet.load(state)


@pytest.mark.parametrize("encoder, message", [
    ("hf-hub:someone/something", "Set encoder to a name of timm"),
    ("local-dir:/tmp/x", "Set encoder to a name of timm"),
    ('{"name": "resnet10t", "pretrained": true}', "Remove the option 'pretrained' .*: a checkpoint cannot"),
    ('{"name": "resnet10t", "checkpoint_path": "/tmp/x.pth"}', "option 'checkpoint_path'"),
    ('{"name": "resnet10t", "pretrained_cfg": {"url": "https://example.org"}}', "option 'pretrained_cfg'"),
    ('{"name": "resnet10t", "block_args": {"a": 1}}', "option 'block_args'"),
    ("{", "Set encoder to a name of timm"),
    ("no_such_model", "has no model 'no_such_model'"),
    ("vit_tiny_patch16_224", "Choose an encoder with maps at strides 4, 8, 16, 32"),
    ('{"name": "resnet10t", "no_such_option": 1}', "cannot build the encoder"),
])
def test_a_file_cannot_make_timm_load_or_run_anything(encoder, message, tmp_path, tiny_state):
    save_file(tiny_state, tmp_path / "a.safetensors", {"birefnet.encoder": encoder})
    with pytest.raises(CheckpointError, match=message):
        birefnet.load(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=message):
        birefnet.load(tiny_state, encoder=encoder)


def test_batch_norms_fold_where_nothing_else_reads_the_convolution():
    encoder = birefnet.BiRefNet(TIMM).bb.eval()
    norms = [name for name, module in encoder.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert sorted(norm for _, norm in find_foldable(encoder)) == sorted(norms)

    class Both(torch.nn.Module):
        """Reads a convolution before and behind its batch norm, or gives it away as it is."""

        def __init__(self, given: bool) -> None:
            super().__init__()
            self.conv, self.norm, self.given = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), given

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            y = self.conv(x)
            return [y, self.norm(y)] if self.given else [y.relu() + self.norm(y)]

    assert find_foldable(Both(True).eval()) == find_foldable(Both(False).eval()) == []


@pytest.mark.slow
def test_tables_that_no_checkpoint_holds_are_computed():
    """Swin's relative positions and masks, in timm's form."""
    small = {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": [2, 1, 1, 1]}
    config = on(json.dumps({"name": "swin_tiny_patch4_window7_224", **small}), multi_scale="none")
    state = random_state(config)
    built = birefnet.BiRefNet(config).eval()
    built.load_state_dict(state, strict=False)
    for form in ("plain", "inference"):
        with torch.inference_mode():
            logits = birefnet.load(state, form=form, **told(config))(image())
            assert torch.allclose(logits, built(image()), atol=2e-5)


@pytest.mark.slow
def test_a_model_that_the_meta_device_cannot_build_is_built_on_the_cpu(monkeypatch):
    timm = pytest.importorskip("timm")
    state, make = random_state(TIMM), timm.create_model
    expected = birefnet.load(state, **told(TIMM))

    def refuse(*names: str, **options: object) -> torch.nn.Module:
        if torch.empty(0).is_meta:
            raise NotImplementedError("aten::_unique2: no Meta kernel")
        return make(*names, **options)

    monkeypatch.setattr(timm, "create_model", refuse)
    for form in ("plain", "inference"):
        with torch.inference_mode():
            logits = birefnet.load(state, form=form, **told(TIMM))(image())
            assert torch.allclose(logits, expected(image()), atol=2e-5)
