"""DINOv3 as an encoder family, used by the authors since October 2025.

Tensors are named as in timm's `features_only` model of vit_*_patch16_dinov3. All four maps have stride 16;
the decoder's neck resizes and maps them to the strides and widths of Swin-L.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ....files.errors import CheckpointError
from ...family import Compose, Family, Shapes, count
from .fused import FusedVisionTransformer
from .plain import PATCH, Block, VisionTransformer

if TYPE_CHECKING:
    from ...config import Config

__all__ = ["DINOv3Family"]

NECK = (192, 384, 768, 1536)  # channels of the four maps after the neck: Swin-L's
DEFAULT_HEAD_WIDTH = 64      # channels of an attention head
HEAD_WIDTHS = {4096: 128}    # exceptions, by the transformer's width
DEPTHS = {12: (4, 2, 2, 4)}  # blocks before each map, by number of blocks; others have even quarters


def trunk(
    width: int, blocks: int, gated: bool, ratio: int, heads: tuple[int, ...] | None = None
) -> dict[str, object]:
    """Return fields of `Config` for a transformer. ratio: hidden width of the MLP over `width`."""
    heads = heads or (max(1, width // HEAD_WIDTHS.get(width, DEFAULT_HEAD_WIDTH)),) * 4
    return {"family": DINOv3Family.name, "widths": (width,) * 4, "heads": heads, "mlp_ratios": (ratio,) * 4,
            "depths": DEPTHS.get(blocks, (blocks // 4,) * 4), "gated_mlp": gated}


def build(width: int, blocks: int, gated: bool = False, ratio: int = 4) -> dict[str, object]:
    """Return fields of `Config` for one of the authors' builds."""
    return {**trunk(width, blocks, gated, ratio), "neck": NECK}


class DINOv3Family(Family):
    """Vision transformers of one width, with rotary positions and register tokens."""

    name = "dino_v3"
    label_fields = ("widths", "depths", "gated_mlp")
    blocks = (Block,)

    @property
    def builds(self) -> dict[str, dict[str, object]]:
        return {"dino_v3_s": build(384, 12), "dino_v3_s_plus": build(384, 12, gated=True),
                "dino_v3_b": build(768, 12), "dino_v3_l": build(1024, 24),
                "dino_v3_h_plus": build(1280, 32, gated=True),
                "dino_v3_7b": build(4096, 40, gated=True, ratio=2)}

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        return not encoder and "bb.model.reg_token" in shapes and "bb.model.blocks.0.norm1.weight" in shapes

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        if "bb.model.blocks.0.attn.q_bias" in shapes:
            raise CheckpointError("Choose a BiRefNet with a DINOv3 as the authors build it",
                                  "this one's has biases of queries and values (timm's *_qkvb)")
        gated = "bb.model.blocks.0.mlp.fc1_g.weight" in shapes
        hidden, width = shapes[f"bb.model.blocks.0.mlp.{'fc1_g' if gated else 'fc1'}.weight"]
        return trunk(width, count(shapes, r"bb\.model\.blocks\.(\d+)\."), gated, hidden // width, heads)

    def check(self, config: Config) -> None:
        if config.neck is None or len(set(config.widths)) > 1 or config.widths[0] % (4 * config.heads[0]):
            raise ValueError("DINOv3 needs a neck, one width, and heads that divide it by a multiple of 4; "
                             f"got neck {config.neck}, widths {config.widths}, heads {config.heads}")

    def build(self, config: Config) -> VisionTransformer:
        return VisionTransformer(config)

    def fuse(self, plain: VisionTransformer, compose: Compose) -> FusedVisionTransformer:
        return FusedVisionTransformer(plain)

    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        width, ratio, element = config.widths[0], config.mlp_ratios[0], encoder.model.cls_token.element_size()
        return size[0] * size[1] / PATCH**2 * element * width * (4 + 4 + 2 + 3 * ratio)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        tokens, width, ratio = size[0] * size[1] / PATCH**2, config.widths[0], config.mlp_ratios[0]
        element = encoder.model.cls_token.element_size()
        # The float32 residual stream; four maps, the normalised tokens, keys and values.
        alive = width * (4 + element * (4 + 1 + 3))
        return tokens * alive, tokens * width * (4 + element * (2 + 3 * ratio))
