"""What a disk is divided into: partitions, physical and logical volumes, signatures."""
