"""The home for a machine without a cluster: API server, scheduler, provisioner, node, `mtv up`."""
