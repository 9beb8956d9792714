"""Broken and malicious images that are kept: each ends with an error that says what is wrong.

Their names say what was done to them. To add one, put the file there.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from converters import inspection, locating, pipeline
from converters.errors import ConversionError
from converters.sinks.memory import NullSink

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(CORPUS.iterdir())


def copy_all(path):
    with locating.open_disks(str(path)) as found:
        for disk in found.disks():
            pipeline.copy(disk.source, NullSink(), pipeline.Options(workers=1))
        found.finish()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("work", [copy_all, inspection.inspect], ids=["converted", "looked into"])
def test_image_when_broken_is_refused_with_a_sentence(path, work):
    started = time.monotonic()
    with pytest.raises(ConversionError) as caught:
        work(str(path)) if work is copy_all else work(str(path), deep=True)
    assert str(caught.value)
    assert time.monotonic() - started < 20


def test_corpus_when_all_is_converted_stays_small():
    code = (
        "import resource, sys\n"
        f"sys.path[:0] = {[str(CORPUS.parent), str(CORPUS.parents[2])]!r}\n"
        "from test_corpus import FILES, copy_all\n"
        "from converters.errors import ConversionError\n"
        "for path in FILES:\n"
        "    try: copy_all(path)\n"
        "    except ConversionError: pass\n"
    )
    most = 1 << 30  # of address space: a size that is believed would not fit
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
