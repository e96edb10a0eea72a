"""Swin Transformer v1 as an encoder family; most of the authors' checkpoints use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...family import Compose, Family, Shapes, count
from ...ops.normalize import first_stage_dtype
from .fused import FusedSwin
from .plain import Block, SwinTransformer

if TYPE_CHECKING:
    from ...config import Config

__all__ = ["SwinFamily"]


def build(width: int, third: int, window: int) -> dict[str, object]:
    """Return fields of `Config`. width: of the first stage; third: blocks of the third stage."""
    widths = tuple(width * 2**i for i in range(4))
    return {"family": SwinFamily.name, "widths": widths, "depths": (2, 2, third, 2),
            "heads": tuple(width // 32 for width in widths), "window": window}


class SwinFamily(Family):
    """Swin Transformers v1, recognised by the tensors of their stages."""

    name = "swin_v1"
    blocks = (Block,)

    @property
    def builds(self) -> dict[str, dict[str, object]]:
        return {"swin_v1_t": build(96, 6, 7), "swin_v1_s": build(96, 18, 7), "swin_v1_b": build(128, 18, 12),
                "swin_v1_l": build(192, 18, 12),
                "swin_v1_l24": build(192, 24, 12)}  # feyninc/FeyNobg

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        found = {prefix for prefix in ("bb.layers.0.", "bb.patch_embed1.")
                 if any(name.startswith(prefix) for name in shapes)}
        return not encoder and found == {"bb.layers.0."}

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        tables = [shapes[f"bb.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in range(4)]
        widths = tuple(shapes[f"bb.norm{i}.weight"][0] for i in range(4))
        return {
            "family": self.name,
            "widths": widths,
            "depths": tuple(count(shapes, rf"bb\.layers\.{i}\.blocks\.(\d+)\.") for i in range(4)),
            "heads": tuple(table[1] for table in tables),
            "mlp_ratios": tuple(shapes[f"bb.layers.{i}.blocks.0.mlp.fc1.weight"][0] // width
                                for i, width in enumerate(widths)),
            "window": (round(tables[0][0] ** 0.5) + 1) // 2,
        }

    def build(self, config: Config) -> SwinTransformer:
        return SwinTransformer(config)

    def fuse(self, plain: SwinTransformer, compose: Compose) -> FusedSwin:
        return FusedSwin(plain)

    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        element = encoder.norm0.weight.element_size()
        return size[0] * size[1] / 16 * element * config.widths[0] * (6 * config.mlp_ratios[0] + 8)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        positions, width = size[0] * size[1] / 16, config.widths[0]
        first = first_stage_dtype(encoder.norm0.weight.dtype).itemsize
        alive = width * (4 + 2 + first)  # the float32 map, the next stage's input, x1
        token_bytes = 8 * width + (config.mlp_ratios[0] + 3) * width * first
        return positions * alive, positions * token_bytes

    def first_convolution(self, encoder: nn.Module) -> nn.Conv2d:
        return encoder.patch_embed.proj
