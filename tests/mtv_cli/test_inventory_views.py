"""What `mtv inventory` prints, for people and for programs."""

from __future__ import annotations

import json

import pytest
from mtv_planning import source

from mtv.cli import inventory
from mtv.cli.inventory_views import COLUMNS, document, header, of_kind, row
from mtv.cli.options import Format
from mtv.inventory.model import Moref, PowerState

INVENTORY = source.inventory(
    source.vm(id=Moref("vm-2"), name="b", path="/DC0/vm/b", power_state=PowerState.OFF),
    source.vm(id=Moref("vm-1"), name="a", path="/DC0/vm/a"),
)


def test_vms_are_sorted_by_path_and_shown_with_names_of_what_they_use() -> None:
    assert [one.name for one in of_kind("vms", INVENTORY)] == ["a", "b"]
    cells = row("vms", of_kind("vms", INVENTORY)[1], INVENTORY, wide=False)
    shown = dict(zip(header("vms", wide=False), cells, strict=True))
    assert shown == {
        "ID": "vm-2",
        "NAME": "b",
        "POWER": "off",
        "CPUS": "4",
        "MEMORY": "4.0 GiB",
        "DISKS": "1",
        "SIZE": "8.0 GiB",
        "GUEST": "rhel9_64Guest",
        "NETWORKS": "VM Network",
        "DATASTORES": "ds1",
    }


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_kind_has_wide_columns_and_a_document(kind: str) -> None:
    for one in of_kind(kind, INVENTORY):
        assert len(row(kind, one, INVENTORY, wide=True)) == len(header(kind, wide=True))
        assert json.loads(json.dumps(document(one)))["id"] == one.id


def test_documents_have_all_fields_in_camel_case() -> None:
    found = document(source.vm())
    assert found["memoryBytes"] == 4 << 30
    assert found["powerState"] == "poweredOn"
    assert found["disks"][0]["baseFile"] == "[ds1] web1/web1.vmdk"
    assert found["extraConfig"] == []


def test_a_watch_prints_what_is_new_and_what_has_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = inventory.printer("vms", Format.NAME)
    show(INVENTORY)
    assert capsys.readouterr().out.split() == ["a", "b"]
    changed = source.inventory(
        source.vm(id=Moref("vm-1"), name="a", path="/DC0/vm/a", power_state=PowerState.OFF)
    )
    show(changed)
    output = capsys.readouterr()
    assert output.out.split() == ["a"]
    assert output.err == "note: vm-2 is gone\n"
