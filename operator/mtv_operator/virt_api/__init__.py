"""What the API server asks of us: admission of VMs, and the calls that `virtctl` makes.

    admission      defaults (what is left open is filled in), validation (what cannot be),
                   honoured (what is stored without effect is said)
    subresources   start, stop, restart, console … of `subresources.kubevirt.io`

Pure: `defaults`, `validation` and its parts, `honoured`, `lifecycle`, `discovery`, `registration`.
"""
