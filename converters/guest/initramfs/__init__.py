"""Initramfs images: several archives, packed by several programs; kernel module indexes."""
