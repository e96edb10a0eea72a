"""Nodes for the tests' host only: they run this pack's nodes where memory runs out, or where models are
unloaded."""

import collections
import contextlib
import gc
import importlib.util
import json
import pathlib
import threading
import time
import types

import comfy.model_management as mm
import torch
from comfy_api.latest import io

import nodes

HERE = pathlib.Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("starving", HERE / "starving.py")
starving = importlib.util.module_from_spec(spec)
spec.loader.exec_module(starving)


class Starve:
    """Runs a node of this pack with plenty of memory, then once for each of `tries` of its allocations, which
    fails (and all later ones, where `lasting`); tells as JSON what came of it."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "run", ("STRING",), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"node": ("STRING", {}), "widgets": ("STRING", {}),
                             "tries": ("INT", {"min": 1, "max": 10**6}),
                             "lasting": ("BOOLEAN", {})},
                "optional": {"model": ("BACKGROUND_REMOVAL",), "image": ("IMAGE",), "mask": ("MASK",),
                             "video": ("VIDEO",)}}

    def run(self, node, widgets, tries, lasting, **sockets):
        kind = nodes.NODE_CLASS_MAPPINGS[node]
        defaults = {widget.id: widget.default for widget in kind.define_schema().inputs
                    if hasattr(widget, "default")}
        inputs = defaults | json.loads(widgets) | sockets
        # What the host does for a node that asks for hidden inputs.
        kind = type(kind.__name__, (kind,),
                    {"hidden": types.SimpleNamespace(extra_pnginfo=None, prompt=None)})
        found = collections.Counter()
        said = collections.Counter()
        def forget() -> None:
            """A loader keeps a model as long as the host does."""
            if not sockets:
                mm.unload_all_models()

        expected = values(kind.execute(**inputs))
        forget()
        with starving.Starved() as plenty:
            kind.execute(**inputs)
        before = alive()
        for step in starving.steps(plenty.count, tries):
            forget()
            try:
                with starving.Starved(step, lasting):
                    result = values(kind.execute(**inputs))
            except Exception as error:
                found["refused"] += 1
                said[f"{type(error).__name__}: {error}"] += 1
                del error
            else:
                found["right" if same(result, expected) else "wrong"] += 1
                del result
        told = {"steps": plenty.count, "found": found, "said": said, "leaked": alive() - before,
                "next": same(values(kind.execute(**inputs)), expected),
                "loaded": len(mm.current_loaded_models)}
        return {"ui": {"text": (json.dumps(told),)}, "result": (json.dumps(told),)}


class Unload:
    """A model whose network is unloaded by another thread while it runs, `times` times, as an extension that
    frees memory may do: its weights are then on another device, on which they stay until it is loaded
    again."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "make", ("BACKGROUND_REMOVAL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("BACKGROUND_REMOVAL",), "times": ("INT", {"min": 0, "max": 1000}),
                             "between": ("BOOLEAN", {})}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return time.time()  # counts anew every time

    def make(self, model, times, between):
        import copy

        model = copy.copy(model)
        model.network = copy.deepcopy(model.network)
        model.patchers = {}
        left, weights, load_to = [times], model.network.state_dict(), model.load_to

        def unload(*_):
            if left[0]:
                left[0] -= 1
                thread = threading.Thread(target=lambda: model.network.to("meta"))
                thread.start()
                thread.join()
                if not between:  # as a GPU does; the CPU computes something with weights that are not there
                    raise RuntimeError("Expected all tensors to be on the same device, cuda:0 and cpu")

        def load(*where):
            with torch.inference_mode(False):
                model.network.load_state_dict(weights, assign=True)
            load_to(*where)
            # weights that are left nowhere cannot be moved by the host later
            for patcher in model.patchers.values():
                patcher.detach = lambda *_, **__: None

        model.load_to = load
        part = model.network if between else model.network.decoder
        part.register_forward_hook(unload) if between else part.register_forward_pre_hook(unload)
        return (model,)


class Freeing:
    """Lets its image through and has another thread unload all models every few milliseconds, until Freed
    runs: the host's own work between nodes and prompts does not bear it."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "run", ("IMAGE",)
    over = threading.Event()
    thread = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        def free():
            while not Freeing.over.wait(0.005):
                # as a web server's handler does
                with contextlib.suppress(AttributeError, IndexError, TypeError):
                    mm.unload_all_models()

        Freeing.over.clear()
        Freeing.thread = threading.Thread(target=free)
        Freeing.thread.start()
        return (image,)


class Freed:
    """Lets its mask through once nothing unloads models any longer."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "run", ("MASK",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"mask": ("MASK",)}}

    def run(self, mask):
        Freeing.over.set()
        Freeing.thread.join()
        mm.current_loaded_models[:] = [entry for entry in mm.current_loaded_models
                                       if entry.real_model is not None]
        return (mask,)


class HalfGone:
    """Lets its image through with an entry in the host's list of loaded models as another thread leaves it
    halfway through unloading; after `seconds` the first that asks the entry takes it out of the list."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "seconds": ("FLOAT", {"min": 0, "max": 1000})}}

    def run(self, image, seconds):
        end = time.monotonic() + seconds

        class Entry:
            real_model, model = None, None

            def is_dead(self):
                if time.monotonic() > end:
                    mm.current_loaded_models.remove(self)
                # as the host's, whose real_model is a weak reference or None
                return self.real_model() is not None

        mm.current_loaded_models.insert(0, Entry())
        return (image,)


def values(output):
    """A node's tensors and numbers; paths and videos count new files, so they are left out."""
    result = output.args if isinstance(output, io.NodeOutput) else output
    return [value for value in result if isinstance(value, (torch.Tensor, float))]


def same(one, other):
    return all(abs(a - b) < 1e-6 if isinstance(a, float) else torch.allclose(a, b, atol=1e-5)
               for a, b in zip(one, other, strict=True))


def alive():
    """Bytes of all tensors that exist."""
    gc.collect()
    held = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter) and not thing.is_meta:
            held[thing.untyped_storage()._cdata] = thing.untyped_storage().nbytes()
    return sum(held.values())


NODE_CLASS_MAPPINGS = {"Starve": Starve, "Unload": Unload, "Freeing": Freeing, "Freed": Freed,
                       "HalfGone": HalfGone}
