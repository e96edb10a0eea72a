"""Bytes on disk: atomic writes, hashes, and errors that a user reads."""
