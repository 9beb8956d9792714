"""Bytes of disks and insides of guests; knows no Kubernetes."""
