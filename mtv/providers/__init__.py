"""Where VMs come from: one package per kind of source."""
