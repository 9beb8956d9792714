"""What a transfer pod runs: copies one disk of a source into the claim that is mounted.

`target` is the claim and what is noted beside the disk, `checkpoints` when that is trusted, `ways`
what has to come for a state of a running VM's disk and `approach` how that is found out, `copying`
the copy itself, `viewing` and `report` what others see of it, `verifying` the second look at the
target, `endings` how it can end, `main` the process.
"""
