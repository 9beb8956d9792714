"""The mtv command: one file per command."""
