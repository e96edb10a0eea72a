"""The default checkpoint: where its pictures come from, how composites are made of them, and how good it
is."""
