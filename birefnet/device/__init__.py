"""Hardware: number formats, free memory, passes, transfers, CUDA graphs."""
