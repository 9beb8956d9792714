"""vCenter and ESXi; the only importer of pyvmomi."""
