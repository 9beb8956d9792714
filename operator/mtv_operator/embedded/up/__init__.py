"""`mtv up`: the processes of mtv on a machine without a cluster, started, watched, ended.

One supervisor per data folder starts what Kubernetes would run elsewhere and starts again what
ends. It talks to nobody and imports little. What must be true of a process is on disk, so that a
supervisor that was killed is replaced by the next `mtv up`, which adopts what still runs.
"""
