"""Opens the volumes of kube-controller-manager's host-path provisioner to all users.

It makes their folders for root alone, and the kubelet applies no fsGroup to a hostPath: pods that
do not run as root could not write. What real provisioners do by themselves, this does here.
"""

import time

from parts import HOSTPATH_VOLUMES

LOOK_S = 0.2


def main() -> None:
    """Look for new folders until this process is ended."""
    opened = set()
    while True:
        found = set(HOSTPATH_VOLUMES.iterdir())
        for path in found - opened:
            path.chmod(0o777)
        opened = found
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
