"""The network, from a normalised image to logits."""
