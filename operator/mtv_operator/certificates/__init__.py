"""Certificates of mtv's own authority: making them, and using newer ones without a restart."""
