"""The embedded home's kubelet: runs the pods that are bound to one node as local processes.

What is true of a pod is on disk and in the kernel, never in this process alone: identities of
processes (pid and start time), exit codes, addresses. So the runner may be killed at any line and
goes on where it was. Not a container engine: there are no images, a container is a command of this
machine in namespaces of its own.
"""
