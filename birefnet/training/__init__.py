"""Making checkpoints: pictures, composites, losses, the training loop and its measurement."""
