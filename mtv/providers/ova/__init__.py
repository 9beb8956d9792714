"""OVA and OVF packages as a source: files, folders of them, URLs.

`location` is where they lie, `hardware` the pure reading of a descriptor, `inventory` what becomes
of it, `session` what reads and watches, `disks` the bytes of one disk.
"""
