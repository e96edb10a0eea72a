"""Training data: pairs of files, judged before the first step, then read, varied and put into batches."""
