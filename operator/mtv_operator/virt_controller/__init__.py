"""VirtualMachine → VirtualMachineInstance → launcher pod, and back again when things end.

What shall be done is decided purely, one module per kind: `virtual_machine`, `instance`,
`migration`, `node`. `controllers` has what talks to the API server.

    VirtualMachine      run_strategy: start or stop?     new_instance: the VMI it starts as
    VirtualMachineInstance  Pending → Scheduling → Scheduled │ then virt-handler's, until it ends
    launcher pod        launcher_pod, with launcher_resources and launcher_volumes

A VMI is ours until it is Scheduled, and virt-handler's from then on; all we write to it, before
and after, is a JSON patch of what we mean to change, tested against the version we looked at.
"""
