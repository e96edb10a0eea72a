"""The maintainers' workshop: the included checkpoint's recipe and the benchmark. Nothing in the product imports it."""
