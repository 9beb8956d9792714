"""Where the bytes of a disk go."""
