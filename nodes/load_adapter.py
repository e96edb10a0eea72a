"""Load Adapter (BiRefNet): adds a fine-tuned adapter to a loaded model; a chain of nodes adds several."""

from __future__ import annotations

from comfy_api.latest import io

from .. import weights
from .host import checkpoints, folders, recipe, schema, values
from .host.checkpoints import NONE


class BiRefAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema.make(
            io.Schema,
            node_id="BiRefAdapter",
            display_name="Load Adapter (BiRefNet)",
            category=schema.CATEGORY,
            description="Adds what fine-tuning learned to a loaded network, as Load LoRA does for image "
                        "models. Put several in a row to add several. The network runs as fast as without.",
            search_aliases=["adapter", "lora", "load fine-tuned adapter"],
            inputs=[
                schema.model_input("A network from Load BiRefNet, or from another of these nodes."),
                io.Combo.Input(
                    "adapter", options=checkpoints.adapter_options(), default=NONE,
                    tooltip="A file from models/BiRefNet/adapters, as Fine-tune (BiRefNet) saves it. It "
                            "belongs to the checkpoint that it was learned on; one of another build is "
                            "refused."),
                io.Float.Input(
                    "strength", default=1.0, min=-2.0, max=2.0, step=0.05,
                    tooltip="How much of the adapter is added: 1 as it was learned, 0 nothing, less than 0 "
                            "its opposite."),
            ],
            outputs=[
                schema.BackgroundRemoval.Output(
                    "tuned", display_name="model",
                    tooltip="The network with the adapter, for Segment (BiRefNet). The input model is not "
                            "changed."),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter=None) -> bool | str:
        return checkpoints.fault_of_adapter(adapter) or True

    @classmethod
    def fingerprint_inputs(cls, adapter: str = NONE, **_) -> tuple:
        """Return a value that changes when the file is replaced, so that the host loads it again."""
        return checkpoints.adapter_state(adapter)

    @classmethod
    @values.checked
    def execute(cls, model, adapter: str, strength: float) -> io.NodeOutput:
        made = recipe.of(model, "an adapter")
        if adapter == NONE:
            return io.NodeOutput(model)
        path = weights.find_adapter(str(adapter), folders.checkpoint_folders())
        return io.NodeOutput(made.with_adapter(path, strength).model())
