"""Making checkpoints: data, losses and the training loop; `nano` is what the default checkpoint is made of."""
