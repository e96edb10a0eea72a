"""Detect a build's `Config` from names and shapes of tensors; guess what files of other kinds are."""

from __future__ import annotations

import re

from ..files.errors import CheckpointError
from ..network.backbones import FAMILIES
from ..network.family import Shapes, count

# Tensor names of other kinds of files, the most specific first.
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

# Encoders that the authors' code supports and this project does not.
UNSUPPORTED = (
    (r"^bb\.conv1\.4\.0\.conv1\.", "torchvision's ResNet-50"),
    (r"^bb\.conv1\.\d+\.", "torchvision's VGG-16"),
)


def detect(
    shapes: Shapes, multi_scale: str | None = None, heads: tuple[int, ...] | None = None, encoder: str = ""
) -> dict:
    """Detect the fields of `Config` that determine the network.

    Args:
        shapes: of a state dict's tensors, by names without prefixes.
        multi_scale: decides between "add" and "none", which tensors do not; "cat" is detected.
        heads: attention heads of each stage for PVT v2; other encoders ignore it.
        encoder: the encoder's name where tensors do not determine it, such as "convnext_femto"; else "".

    Returns:
        Keyword arguments for `Config`.

    Raises:
        CheckpointError: this is not a BiRefNet with an encoder of birefnet.network.backbones.FAMILIES.
    """
    refuse_foreign(shapes)
    family = next((family for family in FAMILIES.values() if family.recognises(shapes, encoder)), None)
    if family is None:
        unsupported = find_label(shapes, UNSUPPORTED)
        if unsupported:
            raise CheckpointError("Choose a BiRefNet with Swin v1, PVT v2, DINOv3 or an encoder of timm",
                                  f"this one was built on {unsupported}")
        raise CheckpointError("Name this BiRefNet's encoder",
                              "the tensors do not determine it, and the file's metadata has no entry "
                              'birefnet.encoder (for one of timm\'s: load(…, encoder="convnext_femto"))')
    try:
        found = family.read(shapes, encoder, heads)
        return {**found, **detect_decoder(shapes, found["widths"], multi_scale)}
    except KeyError as missing:
        raise CheckpointError("Download or copy it again",
                              f"this seems to be a BiRefNet, but lacks the tensor {missing}: it was saved "
                              "incompletely") from None
    except (IndexError, ValueError, ZeroDivisionError) as error:  # tensors with fewer axes, or empty ones
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError("Choose another checkpoint",
                              f"its tensors do not fit together: {error}") from None


def refuse_foreign(shapes: Shapes) -> None:
    """Raise CheckpointError for tensors that are not a BiRefNet's; the message guesses what they are."""
    if any(name.startswith("decoder.decoder_block4.") for name in shapes):
        return
    found = find_label(shapes, FOREIGN)
    names = ", ".join(sorted(shapes)[:3]) or "none"
    guess = f"it seems to be {found}" if found else f"its {len(shapes)} tensors begin with: {names}"
    raise CheckpointError("Choose a BiRefNet checkpoint",
                          f"{guess}; expected tensors named bb.*, squeeze_module.*, decoder.*")


def find_label(shapes: Shapes, table: tuple[tuple[str, str], ...]) -> str | None:
    """Find the label of the first pattern in the table that matches some tensor's name, or None."""
    return next((label for pattern, label in table if any(re.search(pattern, name) for name in shapes)), None)


def detect_decoder(shapes: Shapes, widths: tuple[int, ...], multi_scale: str | None) -> dict:
    """Detect the fields of `Config` that determine the decoder. widths: of the encoder's four maps.

    Raises KeyError for a missing tensor, and CheckpointError where decoder and encoder do not fit together.
    """
    squeeze, backbone_channels = "squeeze_module.0.", sum(widths)
    inner, channels = shapes[squeeze + "conv_in.weight"][:2]
    if channels == 2 * backbone_channels:
        multi_scale = "cat"
    elif channels != backbone_channels:
        raise CheckpointError("Choose another checkpoint",
                              f"its squeeze block reads {channels} channels; expected {backbone_channels} "
                              f"(one look at the image) or {2 * backbone_channels} (a second look at half "
                              "size)")
    elif multi_scale != "add":
        multi_scale = "none"
    necks = [shapes[name][0] for i in range(1, 5)
             if (name := f"decoder.pyramid_neck_x{i}.conv.weight") in shapes]
    found = {
        "multi_scale": multi_scale,
        "neck": tuple(width // (2 if multi_scale == "cat" else 1) for width in necks) or None,
        "inner": inner,
        "patch_inner": shapes["decoder.ipt_blk5.conv1.weight"][0],
        "gate": shapes["decoder.gdt_convs_4.0.weight"][0],
        "residual": "decoder.decoder_block4.conv_resi.weight" in shapes,
        "batch_norm": squeeze + "bn_in.weight" in shapes,
        "supervision": {"decoder.conv_ms_spvn_4.weight",
                        "decoder.gdt_convs_pred_4.0.weight"} <= shapes.keys(),
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
