"""The inference form's operators: merging convolutions, maps by bands of rows, matrix products."""
