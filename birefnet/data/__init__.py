"""Training data: pairs of files, checked before the first step, then read, augmented and batched."""
