"""What is on disk: atomic writes, hashes, optional packages, and the errors that a user reads."""
