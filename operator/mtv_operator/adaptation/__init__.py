"""What an adaptation pod runs: a migrated guest is made ready for virtio, in place, offline."""
