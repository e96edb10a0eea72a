"""The encoders, one file for each family."""
