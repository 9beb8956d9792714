"""The embedded home's volumes: folders and sparse files of this machine as persistent volumes."""
