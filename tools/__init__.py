"""The maintainers' tools: the training of the included checkpoint and of the selector, and the benchmark. The
product imports none of them."""
