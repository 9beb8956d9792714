"""File systems read without the kernel: ext2/3/4 and FAT."""
