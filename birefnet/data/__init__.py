"""Data sets: pairs of pictures and masks, found, checked, augmented and batched."""
