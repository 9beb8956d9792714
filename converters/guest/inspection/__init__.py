"""Read-only inspection: what is in the guest, as frozen facts."""
