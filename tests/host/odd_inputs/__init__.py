"""Nodes for the tests' host only: pictures and masks that no node of ComfyUI makes, but that other packs may send."""

import torch


class OddImage:
    """A batch of `frames` pictures, [frames, height, width, channels], of one value."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"min": 0, "max": 8192})
        return {"required": {"frames": number, "height": number, "width": number, "channels": number,
                             "value": ("FLOAT", {"min": -1e9, "max": 1e9})}}

    def make(self, frames, height, width, channels, value):
        return (torch.full((frames, height, width, channels), value),)


class OddMask:
    """A batch of `frames` masks, [frames, height, width], of one value."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("MASK",)

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"min": 0, "max": 8192})
        return {"required": {"frames": number, "height": number, "width": number,
                             "value": ("FLOAT", {"min": -1e9, "max": 1e9})}}

    def make(self, frames, height, width, value):
        return (torch.full((frames, height, width), value),)


NODE_CLASS_MAPPINGS = {"OddImage": OddImage, "OddMask": OddMask}
