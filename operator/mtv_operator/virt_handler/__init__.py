"""Per node: proves KVM, lays the pod's network, drives the launchers, reports the VMIs.

    Scheduled (virt-controller) ─► the launcher listens ─► devices, network, order ─► Running
    deletionTimestamp           ─► the guest is asked to shut down, destroyed after its grace
    the domain ended            ─► Succeeded or Failed ─► the launcher is released

A VMI is ours from Scheduled until it has ended. What counts is with the launcher (its socket, and
`domain.json` beside it) or in the VMI: a handler that was killed goes on from there.
"""
