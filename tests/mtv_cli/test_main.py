"""The command table and the one place where errors are printed."""

import subprocess
import sys

from mtv import errors
from mtv.cli import main


def test_help_when_called_imports_neither_kubernetes_nor_pyvmomi():
    code = (
        "import sys; sys.argv = ['mtv', '--help']\n"
        "from mtv.cli import main\n"
        "try: main.run()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('kubernetes', 'pyVmomi', 'libvirt') if m in sys.modules], "
        "file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in main.COMMANDS)


def test_every_error_class_has_an_exit_code_of_its_own_meaning():
    assert errors.BadInput("x").exit_code == 65
    assert errors.Forbidden("x").exit_code == 77
    assert errors.SourceUnavailable("x").exit_code == 75


def test_show_when_error_has_a_hint_prints_it_after_a_blank_line(capsys):
    main.show(errors.BadInput("seen 3, expected 4", field="spec.x", hint="write 4"))
    assert capsys.readouterr().err == "error: spec.x: seen 3, expected 4\n\nhint: write 4\n"
