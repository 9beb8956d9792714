"""Migration controllers: Provider, Host, NetworkMap, StorageMap, Hook, Plan, Migration.

Each controller observes, decides (a pure function in a module of its own kind), and lets the
actions be performed; see `mtv_operator.reconciling`. `controllers` is what the process starts.
"""
