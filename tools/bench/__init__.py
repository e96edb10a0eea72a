"""How fast the network is, in how much memory, how near to what the machine could do: `python -m tools.bench`."""
