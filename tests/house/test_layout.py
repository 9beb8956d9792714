"""The rules of the house that no linter knows."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_operator_folder_is_a_source_root_and_never_a_package():
    assert not (ROOT / "operator/__init__.py").exists(), "it would shadow the standard library"
    assert not (ROOT / "tests/operator").exists(), "a package of that name shadows it too"


def test_public_modules_have_names_of_the_field():
    vague = {"utils", "util", "common", "manager", "helpers", "misc"}
    found = [
        str(path.relative_to(ROOT))
        for top in ("mtv", "converters", "operator")
        for path in (ROOT / top).rglob("*")
        if path.stem in vague
    ]
    assert found == []
