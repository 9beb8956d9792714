"""Formats of disk images: pure parsing, no input or output."""
