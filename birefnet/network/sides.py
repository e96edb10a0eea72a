"""Sides of images for the network. Imports no PyTorch, so that the command line starts quickly."""

STRIDE = 32            # pixels; network sides are multiples of it
MIN_SIDE = 2 * STRIDE  # pixels; smallest network side
MAX_SIDE = 8192        # pixels; largest side that the command line takes
