"""The maintainers' tools: the included checkpoint's recipe and the benchmark. The product imports none of
it."""
