"""The command line: `python -m birefnet COMMAND`, one module or package for each command."""
