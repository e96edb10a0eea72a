"""Remove Background (BiRefNet): the usual chain of this pack's nodes as one node."""

from __future__ import annotations

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder, Node

from .. import weights
from ..birefnet import composite
from .composite import BiRefComposite
from .estimate_foreground import BiRefForeground
from .host import checkpoints, layers, schema, values
from .load_birefnet import BiRefLoad
from .segment import BiRefSegment

BACKGROUNDS = ("transparent", "colour")


class BiRefRemoveBackground(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefRemoveBackground",
            display_name="Remove Background in One Step (BiRefNet)",
            category=schema.CATEGORY,
            description="From a picture to its subject, in one node: loads the checkpoint, segments, cleans "
                        "the colours of soft edges, and lays the subject over a colour if wanted. The other "
                        "nodes of this pack do the same in steps, with all settings.",
            search_aliases=["remove background", "background removal", "rembg", "remove bg", "matting",
                            "cutout", "cut out", "RMBG", "transparent background"],
            enable_expand=True,
            inputs=[
                schema.image_input(),
                schema.checkpoint_input(
                    checkpoints.options(), checkpoints.DEFAULT,
                    "Which network to use, as in Load BiRefNet. birefnet-nano is included; the others must "
                    "be on this machine unless download is set to \"when missing\"."),
                io.Combo.Input(
                    "background", options=list(BACKGROUNDS), default="transparent",
                    tooltip="What the first output has behind the subject: nothing (RGBA), or the colour "
                            "below (RGB, ready for VAE Encode and video)."),
                schema.colour_input("The colour behind the subject, as in CSS: a word, #20a0ff, rgb(32 160 "
                                    "255). Not used with the background transparent."),
                io.Boolean.Input(
                    "clean_edges", default=True,
                    tooltip="Removes the old background's colour from soft edges such as hair (Estimate "
                            "Foreground). Off: every pixel keeps the picture's own colour."),
                schema.fetch_input("Whether a published checkpoint that is not on this machine may be "
                                   "downloaded, as in Load BiRefNet. off: the internet is not contacted."),
            ],
            outputs=[
                io.Image.Output("cutout", display_name="image",
                                tooltip="The subject: with transparency (RGBA, straight alpha), or over the "
                                        "colour (RGB)."),
                io.Mask.Output("mask", display_name="mask",
                               tooltip="Mask of the subject, 0 to 1: 1 = subject, 0 = background."),
                io.Image.Output("mask_image", display_name="mask image",
                                tooltip="The same mask as a grey picture: white = subject."),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint=None, fetch=None, background=None, colour=None) -> bool | str:
        if background not in (None, *BACKGROUNDS):
            return f"Set background to {' or '.join(BACKGROUNDS)}: it is {weights.quoted(background)}."
        wrong = values.fault_of_colour(colour, layers.OPAQUE) if background == "colour" else True
        return wrong if wrong is not True else checkpoints.fault_before_run(checkpoint, fetch) or True

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str = checkpoints.DEFAULT, **_) -> tuple:
        """Return a value that changes when the checkpoint's file is replaced, so that it runs again."""
        return checkpoints.checkpoint_state(checkpoint)

    @classmethod
    @values.checked
    def execute(cls, image, checkpoint: str, background: str, colour: str, clean_edges: bool, fetch: bool
                ) -> io.NodeOutput:
        if background == "colour":  # fails here for a wrong colour, before the network runs
            composite.opaque_colour(colour, layers.OPAQUE)
        # A graph of nodes: the host caches the result of each, as if they were on the canvas.
        graph = GraphBuilder()
        model = step(graph, BiRefLoad, checkpoint=checkpoint, fetch=fetch)
        segment = step(graph, BiRefSegment, model=model.out(0), image=image)
        mask, cutout = segment.out(0), segment.out(1)
        if clean_edges:
            cutout = step(graph, BiRefForeground, image=image, mask=mask).out(1)
        if background == "colour":
            cutout = step(graph, BiRefComposite, image=cutout, colour=colour).out(0)
        first = graph.node("ImageFromBatch", image=cutout, batch_index=0, length=1).out(0)
        graph.node("PreviewImage", images=first)
        picture = graph.node("MaskToImage", mask=mask).out(0)
        return io.NodeOutput(cutout, mask, picture, expand=graph.finalize())


def step(graph: GraphBuilder, node: type[io.ComfyNode], **inputs) -> Node:
    """Add a node to the graph, with `inputs` and its other widgets' defaults, which the host does not add."""
    described = node.define_schema()
    widgets = {widget.id: widget.default for widget in described.inputs if hasattr(widget, "default")}
    return graph.node(described.node_id, **widgets | inputs)
