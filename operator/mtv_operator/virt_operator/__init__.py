"""Keeps an installation on a cluster whole: its certificates, and what the KubeVirt object says."""
