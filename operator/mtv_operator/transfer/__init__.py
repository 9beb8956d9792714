"""What a transfer pod runs: copies one disk of a source into the claim that is mounted.

`target` is the claim and what is noted beside the disk, `checkpoints` when that is trusted,
`copying` the copy itself, `report` what others see of it, `endings` how it can end, `main` the
process.
"""
