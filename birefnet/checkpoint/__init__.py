"""From a file of tensors to a network, and back."""
