"""From photographs to mattes: running the network, refining edges, estimating foreground colours."""
