"""vCenter and ESXi as a source of VMs; the only importer of pyvmomi.

`session` logs in, `pull` reads the inventory into `mtv.inventory`, `watching` follows its changes,
`power` acts on VMs, `disks` opens their disks for transfers. All errors that leave this
package are of `mtv.errors`.
"""
