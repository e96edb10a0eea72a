"""Train checkpoints: losses, the training loop, fine-tuning on a few pictures, low-rank adapters, reports."""
