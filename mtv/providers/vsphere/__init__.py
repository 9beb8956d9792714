"""vCenter and ESXi as a source of VMs; the only importer of pyvmomi.

`session` logs in, `pull` reads the inventory into `mtv.inventory`, `watching` follows its changes,
`vm_power` acts on VMs, `export` and `folder` open disks for transfers. All errors that leave this
package are of `mtv.errors`.
"""
