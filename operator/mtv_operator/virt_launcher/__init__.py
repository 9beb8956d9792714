"""Per VM: one process that owns one libvirtd and one QEMU inside the VM's pod."""
