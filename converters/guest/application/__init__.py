"""Changes made: a qcow2 overlay, a view of its file systems, a record, the way back."""
