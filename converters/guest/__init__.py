"""The inside of a guest: what is there, what must change for virtio, and the change itself.

    inspection   read-only: disk image -> facts
    decision     pure: facts -> way and reasons
    changes      pure: facts -> the files that shall be different
    application  onto a qcow2 overlay, as an ordinary user; no program of the guest is run

Everything that is read here was written by a stranger: `limits` bounds it, and nothing of it
becomes a path of this machine or a word of a command.
"""
