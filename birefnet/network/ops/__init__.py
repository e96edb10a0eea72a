"""Operators of the inference form that know no network: convolutions composed, maps by bands of rows, products."""
