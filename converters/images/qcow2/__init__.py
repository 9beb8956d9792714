"""qcow2, versions 2 and 3. Pure.

Facts: QEMU's docs/interop/qcow2.txt. Big-endian. Every field is bounded before it is used.
"""
