"""Read a build's `Config` off the names and shapes of its tensors; say what a foreign file is instead."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..files.errors import CheckpointError
from ..network.config import PVT_HEADS

Shapes = Mapping[str, tuple[int, ...]]

# Tensor names that give other files away, most telling first.
FOREIGN = (
    (r"lora_(up|down|A|B|unet|te)|hada_w1|lokr_w", "a LoRA"),
    (r"^control_model\.|^controlnet_", "a ControlNet"),
    (r"^model\.diffusion_model\.|^double_blocks\.|^joint_blocks\.", "a diffusion model"),
    (r"^(vae|first_stage_model)\.|^decoder\.up\.\d|^decoder\.up_blocks\.", "a VAE"),
    (r"text_model\.encoder|^encoder\.block\.\d+\.layer", "a text encoder"),
    (r"rebnconv", "U²-Net or IS-Net"),
    (r"^image_encoder\.|^mask_decoder\.", "Segment Anything"),
    (r"^body\.\d+\.rdb|^model\.\d+\.sub\.|^conv_first\.", "an image upscaler"),
    (r"^(bb\.)?layers\.0\.blocks\.0\.attn|^patch_embed\.proj", "a bare Swin backbone"),
    (r"^block1\.0\.attn\.(q|sr)\.|^patch_embed1\.", "a bare PVT v2 backbone"),
    (r"^(layer1\.0\.conv1|conv1\.weight)", "a ResNet"),
)

# Backbones BiRefNet's code can be built with, of which no public general checkpoint exists.
UNSUPPORTED_BACKBONES = (
    (r"^bb\.(model\.)?(blocks\.\d|cls_token|reg_token|patch_embed\.)", "DINOv3"),
    (r"^bb\.conv1\.4\.0\.conv1\.", "ResNet-50"),
    (r"^bb\.conv1\.\d+\.", "VGG-16"),
)


def detect(shapes: Shapes, multi_scale: str | None = None, heads: tuple[int, ...] | None = None) -> dict:
    """The fields of `Config` that shapes determine, from a state dict's names (without prefixes) and shapes.

    multi_scale decides between "add" and "none", heads gives PVT v2's head counts; both are ignored where the tensors
    speak for themselves. Raises CheckpointError for anything that is not a Swin v1 or PVT v2 BiRefNet.
    """
    refuse_foreign(shapes)
    try:
        backbone = detect_swin(shapes) if "bb.patch_embed.proj.weight" in shapes else detect_pvt(shapes, heads)
        return {**backbone, **detect_decoder(shapes, sum(backbone["widths"]), multi_scale)}
    except KeyError as missing:
        raise CheckpointError(f"this file seems to be a BiRefNet, but lacks the tensor {missing}: it was saved "
                              "incompletely; get it again") from None
    except (IndexError, ValueError, ZeroDivisionError) as error:  # tensors with fewer sides, or empty ones
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the checkpoint's tensors do not fit together: {error}") from None


def refuse_foreign(shapes: Shapes) -> None:
    if any(name.startswith("decoder.decoder_block4.") for name in shapes):
        if not any(name.startswith(("bb.layers.0.", "bb.patch_embed1.")) for name in shapes):
            found = seen_as(shapes, UNSUPPORTED_BACKBONES) or "an unknown network"
            raise CheckpointError(f"this BiRefNet was built on {found}; supported backbones are Swin v1 and PVT v2, "
                                  "which all published checkpoints use")
        return
    found = seen_as(shapes, FOREIGN)
    names = ", ".join(sorted(shapes)[:3]) or "none"
    guess = f"it seems to be {found}" if found else f"its {len(shapes)} tensors begin with: {names}"
    raise CheckpointError(f"not a BiRefNet checkpoint: {guess}; expected tensors named bb.*, squeeze_module.*, decoder.*")


def seen_as(shapes: Shapes, table: tuple[tuple[str, str], ...]) -> str | None:
    return next((label for pattern, label in table if any(re.search(pattern, name) for name in shapes)), None)


def count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the group in `pattern` takes."""
    return len({match.group(1) for name in shapes if (match := re.match(pattern, name))})


def detect_swin(shapes: Shapes) -> dict:
    tables = [shapes[f"bb.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in range(4)]
    widths = tuple(shapes[f"bb.norm{i}.weight"][0] for i in range(4))
    return {
        "family": "swin_v1",
        "widths": widths,
        "depths": tuple(count(shapes, rf"bb\.layers\.{i}\.blocks\.(\d+)\.") for i in range(4)),
        "heads": tuple(table[1] for table in tables),
        "mlp_ratios": tuple(shapes[f"bb.layers.{i}.blocks.0.mlp.fc1.weight"][0] // widths[i] for i in range(4)),
        "window": (round(tables[0][0] ** 0.5) + 1) // 2,
    }


def detect_pvt(shapes: Shapes, heads: tuple[int, ...] | None) -> dict:
    widths = tuple(shapes[f"bb.norm{i}.weight"][0] for i in range(1, 5))
    heads = heads or PVT_HEADS
    if len(heads) != 4 or any(width % number for width, number in zip(widths, heads)):
        raise CheckpointError(f"PVT v2 of widths {widths} cannot have {heads} attention heads, and shapes do not tell "
                              'the right ones: pass heads=(…), or write "birefnet.heads" into the file\'s metadata')
    return {
        "family": "pvt_v2",
        "widths": widths,
        "depths": tuple(count(shapes, rf"bb\.block{i}\.(\d+)\.") for i in range(1, 5)),
        "heads": tuple(heads),
        "mlp_ratios": tuple(shapes[f"bb.block{i}.0.mlp.fc1.weight"][0] // widths[i - 1] for i in range(1, 5)),
        "reductions": tuple(shapes.get(f"bb.block{i}.0.attn.sr.weight", (1,))[-1] for i in range(1, 5)),
    }


def detect_decoder(shapes: Shapes, backbone_channels: int, multi_scale: str | None) -> dict:
    squeeze = "squeeze_module.0."
    inner, channels = shapes[squeeze + "conv_in.weight"][:2]
    if channels == 2 * backbone_channels:
        multi_scale = "cat"
    elif channels != backbone_channels:
        raise CheckpointError(f"the squeeze block reads {channels} channels; expected {backbone_channels} (one look at "
                              f"the image) or {2 * backbone_channels} (a second look at half size)")
    elif multi_scale != "add":
        multi_scale = "none"
    found = {
        "multi_scale": multi_scale,
        "inner": inner,
        "patch_inner": shapes["decoder.ipt_blk5.conv1.weight"][0],
        "gate": shapes["decoder.gdt_convs_4.0.weight"][0],
        "residual": "decoder.decoder_block4.conv_resi.weight" in shapes,
        "batch_norm": squeeze + "bn_in.weight" in shapes,
        "supervision": "decoder.conv_ms_spvn_4.weight" in shapes and "decoder.gdt_convs_pred_4.0.weight" in shapes,
    }
    deformable = squeeze + "dec_att.aspp1.atrous_conv.regular_conv.weight"
    plain = squeeze + "dec_att.aspp1.atrous_conv.weight"
    if deformable in shapes:
        branches = count(shapes, r"squeeze_module\.0\.dec_att\.aspp_deforms\.(\d+)\.")
        kernels = tuple(shapes[f"{squeeze}dec_att.aspp_deforms.{i}.atrous_conv.regular_conv.weight"][-1]
                        for i in range(branches))
        return {**found, "attention": "deformable", "kernels": kernels, "branch": shapes[deformable][0]}
    if plain in shapes:
        return {**found, "attention": "plain", "branch": shapes[plain][0]}
    return {**found, "attention": "none"}
