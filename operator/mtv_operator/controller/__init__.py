"""The process `mtv-controller`: all controllers of migration and of virtual machines, wired."""
