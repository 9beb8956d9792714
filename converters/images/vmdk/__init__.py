"""VMDK: hosted sparse extents (also streamOptimized), descriptors. Pure.

Facts: "VMware Virtual Disk Format 5.0" (Virtual Disk Development Kit), and what ESXi and qemu-img
really write. Every field is bounded before it is used.
"""
