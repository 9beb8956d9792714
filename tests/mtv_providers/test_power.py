"""Power of VMs at the double; each operation may be repeated at any moment."""

import pytest
import servers

from mtv import errors
from mtv.inventory.model import PowerState
from mtv.providers.vsphere import faults, power

pytestmark = pytest.mark.vcenter


@pytest.fixture
def session(mended):
    with mended.session() as session:
        yield session


def moref(vcenter, name):
    return vcenter.vm(name)["moref"]


def test_power_on_and_off_and_again_changes_nothing(mended, session):
    vm = moref(mended, "web1")
    for _ in range(2):
        power.power_on(session, vm)
        assert power.state(session, vm) is PowerState.ON
    for _ in range(2):
        power.power_off(session, vm)
        assert power.state(session, vm) is PowerState.OFF


def test_shut_down_guest_asks_and_the_guest_ends_by_itself(mended, session):
    vm = moref(mended, "web1")
    power.power_on(session, vm)
    power.shut_down_guest(session, vm)
    power.shut_down_guest(session, vm)
    servers.until(lambda: power.state(session, vm) is PowerState.OFF, "it is off")
    power.shut_down_guest(session, vm)


def test_shut_down_guest_when_tools_do_not_run_says_what_to_do(mended, session):
    with pytest.raises(faults.ToolsNotRunning) as caught:
        power.shut_down_guest(session, moref(mended, "deaf"))
    assert "allow the VM to be powered off" in caught.value.hint


def test_power_off_when_the_guest_would_never_end_ends_it(mended, session):
    vm = moref(mended, "stubborn")
    power.shut_down_guest(session, vm)
    assert power.state(session, vm) is PowerState.ON
    power.power_off(session, vm)
    assert power.state(session, vm) is PowerState.OFF
    power.power_on(session, vm)


def test_power_off_when_the_answer_is_lost_looks_at_the_vm_and_is_content(mended, session):
    vm = moref(mended, "runs")
    mended.fault(match="PowerOffVM_Task", count=1, soap="HostCommunication")
    with pytest.raises(errors.SourceUnavailable):
        power.power_off(session, vm)
    power.power_off(session, vm)
    mended.fault(match="PowerOffVM_Task", count=1, soap="HostCommunication")
    power.power_off(session, vm)  # it is off: nothing is asked
    mended.mend()
    power.power_on(session, vm)


def test_power_on_when_another_task_holds_the_vm_is_retryable(mended, session):
    mended.fault(match="PowerOnVM_Task", count=1, soap="TaskInProgress")
    with pytest.raises(errors.Retryable):
        power.power_on(session, moref(mended, "web1"))


def test_power_off_when_a_privilege_is_missing_names_it(mended, session):
    mended.fault(match="PowerOffVM_Task", count=1, soap="NoPermission")
    with pytest.raises(errors.Forbidden, match="privilege"):
        power.power_off(session, moref(mended, "runs"))


def test_power_off_when_the_session_ends_logs_in_again(mended, session):
    vm = moref(mended, "runs")
    mended.fault(match="PowerOffVM_Task", count=1, expireSessions=True)
    power.power_off(session, vm)
    assert power.state(session, vm) is PowerState.OFF
    power.power_on(session, vm)


def test_power_of_a_vm_that_is_gone_says_so(session):
    with pytest.raises(faults.Gone):
        power.power_on(session, "vm-99999")
