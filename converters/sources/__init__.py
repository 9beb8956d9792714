"""Where the bytes of a disk come from."""
