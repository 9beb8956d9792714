"""Login at the double: what is accepted, how a refusal is said, sessions that end."""

import socket
import threading

import pytest
import vcenters

from mtv import errors
from mtv.providers.vsphere import endpoint
from mtv.providers.vsphere.endpoint import CertificateRejected, NotVSphere
from mtv.providers.vsphere.session import Session

pytestmark = pytest.mark.vcenter


def thumbprint(vcenter, algorithm):
    host, port = vcenter.root.removeprefix("https://").split(":")
    der = endpoint.presented_certificate(host, int(port), 5)
    return endpoint.fingerprint(der, algorithm)


TRUSTS = {
    "its CA": lambda vcenter: {"ca_pem": vcenter.ca_pem()},
    "SHA-1 thumbprint": lambda vcenter: {"thumbprint": thumbprint(vcenter, "sha1")},
    "SHA-256 thumbprint in lower case": lambda vcenter: {
        "thumbprint": thumbprint(vcenter, "sha256").lower().replace(":", "")
    },
    "nothing is checked": lambda vcenter: {"insecure": True},
}


@pytest.mark.parametrize("trust", TRUSTS.values(), ids=TRUSTS)
def test_open_when_the_certificate_is_trusted_logs_in(mended, trust):
    with mended.session(**trust(mended)) as session:
        assert session.is_vcenter
        assert session.logins == 1


def test_open_when_nobody_vouches_for_the_certificate_shows_it_and_both_ways_out(mended):
    with pytest.raises(CertificateRejected, match="is not trusted") as caught:
        Session(mended.url, mended.user, mended.password).open()
    assert caught.value.presented == thumbprint(mended, "sha256")
    assert "certs/download.zip" in caught.value.hint
    assert caught.value.presented in caught.value.hint


def test_open_when_the_thumbprint_is_another_names_both(mended):
    other = "AB:" * 19 + "AB"
    with pytest.raises(CertificateRejected) as caught:
        mended.session(thumbprint=other).open()
    assert other in str(caught.value)
    assert thumbprint(mended, "sha1") in str(caught.value)


def test_open_when_the_ca_is_no_certificate_names_the_field(mended):
    with pytest.raises(errors.BadInput, match="no certificate in PEM format") as caught:
        mended.session(ca_pem="not a certificate").open()
    assert caught.value.field == "cacert"


LOGINS = {
    "wrong password": ({"password": "wrong"}, "wrong user name or password", "vSphere client"),
    "no domain": ({"user": "administrator"}, "wrong user name or password", "has no domain"),
}


@pytest.mark.parametrize(("login", "text", "hint"), LOGINS.values(), ids=LOGINS)
def test_open_when_the_login_is_refused_says_what_to_do(mended, login, text, hint):
    with pytest.raises(errors.Forbidden, match=text) as caught:
        mended.session(**login).open()
    assert hint in caught.value.hint
    assert "wrong" not in repr(mended.session(**login)) or "password" not in login


def test_open_when_the_name_is_unknown_says_so():
    with pytest.raises(errors.SourceUnavailable, match="cannot be resolved"):
        Session("https://no.such.host.invalid", "u", "p").open()


def test_open_when_nobody_listens_says_so():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(errors.SourceUnavailable, match="nobody listens"):
            Session(f"https://127.0.0.1:{nobody.getsockname()[1]}", "u", "p").open()


def test_open_when_it_is_not_vsphere_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NotVSphere, match="does not speak TLS"):
            Session(f"https://127.0.0.1:{server.getsockname()[1]}", "u", "p", insecure=True).open()
        thread.join()


def test_pull_when_the_session_has_ended_logs_in_again_by_itself(mended):
    with mended.session() as session:
        before = session.pull()
        mended.control("POST", "expire-sessions")
        assert session.pull().vms == before.vms
        assert session.logins == 2


def test_pull_when_the_session_ends_in_the_middle_begins_anew(mended):
    with mended.session() as session:
        before = session.pull()
        mended.fault(match="RetrievePropertiesEx", skip=2, count=1, expireSessions=True)
        assert session.pull().vms == before.vms


def test_read_when_the_connection_breaks_is_repeated(mended):
    with mended.session() as session:
        before = session.pull()
        mended.fault(match="/sdk", skip=1, count=2, cutAfter=200)
        assert session.pull().vms == before.vms


def test_pull_when_the_password_was_changed_meanwhile_says_so(tmp_path):
    with vcenters.running({"vms": []}, folder=tmp_path) as vcenter, vcenter.session() as session:
        session.pull()
        vcenter.control("POST", "password", {"password": "new"})
        vcenter.control("POST", "expire-sessions")
        with pytest.raises(errors.Forbidden, match="refuses the login"):
            session.pull()


def test_pull_from_an_esxi_host_without_vcenter_gives_its_vms(tmp_path):
    disk = vcenters.sparse_disk(tmp_path / "disk.raw", 1 << 20)
    config = {"vms": [{"name": "alone", "disks": [{"file": str(disk)}]}]}
    with vcenters.running(config, "-esx", folder=tmp_path) as host, host.session() as session:
        inventory = session.pull()
    assert not inventory.is_vcenter
    (vm,) = inventory.vms.values()
    assert (vm.name, len(vm.disks), vm.tags) == ("alone", 1, ())
    assert len(inventory.hosts) == 1
    assert inventory.notes == ()
