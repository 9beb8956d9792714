"""Decoders that many threads ask for at once: msgspec alone would crash the process."""

from __future__ import annotations

import subprocess
import sys

RACE = """
import sys, threading
from mtv.api import core, forklift, kubevirt, mtv
from mtv_operator.objects.client import decoder, list_decoder
sys.setswitchinterval(1e-6)
kinds = [*forklift.KINDS, *mtv.KINDS, core.Pod, core.Secret, core.Node, kubevirt.VirtualMachine]
together = threading.Barrier(len(kinds))
def work(kind):
    together.wait()
    for _ in range(20):
        decoder(kind)
        list_decoder(kind).decode(b'{"metadata": {"resourceVersion": "1"}, "items": []}')
threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
[one.start() for one in threads]
[one.join() for one in threads]
"""


def test_threads_that_make_decoders_at_once_do_not_crash() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
