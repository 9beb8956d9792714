"""Container images of this machine, for container disks: pulled, or loaded by hand."""
