"""Nodes for the tests' host only: pictures, masks and models that only other packs may send; and shorter
waits."""

import copy
import json
import sys

import torch


class OddImage:
    """Outputs a batch of constant pictures, [frames, height, width, channels]."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"min": 0, "max": 8192})
        return {"required": {"frames": number, "height": number, "width": number, "channels": number,
                             "value": ("FLOAT", {"min": -1e9, "max": 1e9})}}

    def make(self, frames, height, width, channels, value):
        return (torch.full((frames, height, width, channels), value),)


class OddMask:
    """Outputs a batch of constant masks, [frames, height, width]."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("MASK",)

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"min": 0, "max": 8192})
        return {"required": {"frames": number, "height": number, "width": number,
                             "value": ("FLOAT", {"min": -1e9, "max": 1e9})}}

    def make(self, frames, height, width, value):
        return (torch.full((frames, height, width), value),)


class OddBoxes:
    """Outputs bounding boxes from JSON."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("BOUNDING_BOX",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"boxes": ("STRING", {})}}

    def make(self, boxes):
        return (json.loads(boxes),)


class LittleMemory:
    """Outputs one of this pack's models on a simulated device with room for `frames` pictures at a time.

    With 0, the device has no room for the weights, and the processor has room for one picture.
    """

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("BACKGROUND_REMOVAL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("BACKGROUND_REMOVAL",), "frames": ("INT", {"min": 0, "max": 64})}}

    def make(self, model, frames):
        model = copy.copy(model)
        model.network = copy.deepcopy(model.network)
        model.patchers = {}
        if frames == 0:
            model.device = torch.device("meta")  # no device that a test machine has
            load_to = model.load_to

            def full(device, memory):
                if device.type == "meta":
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory")
                load_to(device, memory)

            model.load_to = full
        model.network.register_forward_pre_hook(
            lambda network, inputs: allocate(len(inputs[0]), max(frames, 1)))
        return (model,)


class OtherModel:
    """Outputs another pack's model, with core's `encode_image`: constant masks, for `frames` at a time."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("BACKGROUND_REMOVAL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("FLOAT", {"min": 0, "max": 1}),
                             "frames": ("INT", {"min": 0, "max": 64})}}

    def make(self, value, frames):
        self.value, self.frames = value, frames
        return (self,)

    def encode_image(self, image):
        allocate(len(image), self.frames)
        return torch.full(image.shape[:3], self.value)


class SetSeconds:
    """Sets one of the waits of this pack's memory module, such as TRIM_SECONDS, and shows what it was."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "change", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {}), "seconds": ("FLOAT", {"min": 0, "max": 1000})}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")  # runs every time

    def change(self, name, seconds):
        # the host gives a pack's modules names of its own
        memory, = (module for module_name, module in list(sys.modules.items())
                   if module_name.endswith(".nodes.host.memory"))
        before = getattr(memory, name)
        setattr(memory, name, seconds)
        return {"ui": {"text": (str(before),)}}


def allocate(wanted, room):
    if wanted > room:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


NODE_CLASS_MAPPINGS = {"OddImage": OddImage, "OddMask": OddMask, "OddBoxes": OddBoxes,
                       "LittleMemory": LittleMemory,
                       "OtherModel": OtherModel, "SetSeconds": SetSeconds}
