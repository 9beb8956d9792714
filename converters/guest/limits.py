"""Bounds on what is taken from a guest. Its files, names and sizes are a stranger's.

Each bound is far above what the distributions that were looked at need, and far below what would
hurt the machine that reads it.
"""

from __future__ import annotations

MOST_PARTITIONS = 128  # what a GPT holds as every tool makes it
MOST_LOGICAL_VOLUMES = 256
MOST_LVM_TEXT = 1 << 20  # LVM's default metadata area
MOST_CONFIGURATION = 4 << 20  # one text file of the guest, grub.cfg of many kernels included
MOST_INITRAMFS = 512 << 20  # as stored; rescue images of SUSE have 100 MiB
MOST_UNPACKED = 1 << 30  # what all archives of an initramfs may make
MOST_MEMBERS = 100_000  # files of an initramfs
MOST_NAME = 4096  # PATH_MAX
MOST_MODULE = 32 << 20  # one kernel module; amdgpu has 20 MiB
MOST_MODULE_INDEX = 16 << 20  # modules.alias has 1.4 MiB
MOST_FOLDER_ENTRIES = 200_000
MOST_LINKS = 40  # as the Linux kernel
MOST_KERNELS = 32
MOST_INTERFACES = 64
MOST_JOURNAL = 1 << 30
MOST_JOURNAL_BLOCKS = 300_000
MOST_EXTENTS = 1_000_000  # of one file
MOST_PACKAGES = 256 << 20  # what an administrator gives for the first boot
