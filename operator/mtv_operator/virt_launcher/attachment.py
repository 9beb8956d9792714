"""Holds a volume in its pod, for as long as the pod lives; whoever connects learns our pid.

python3 -m mtv_operator.virt_launcher.attachment /path/hp.sock
"""

import os
import signal
import socket
import sys


def run(path: str) -> None:
    """Listen on a socket until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with socket.socket(socket.AF_UNIX) as listening:
        if os.path.exists(path):
            os.unlink(path)
        listening.bind(path)
        listening.listen()
        while True:
            listening.accept()[0].close()


if __name__ == "__main__":
    run(sys.argv[1])
