"""Disks in container images: names, registries and image layouts, layers into a folder."""
