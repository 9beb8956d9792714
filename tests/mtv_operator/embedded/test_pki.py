"""Certificates of the embedded home: trusted, private, renewed in time."""

import datetime
import ssl

import pytest

from mtv_operator.embedded import pki

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def authority(tmp_path):
    return pki.Authority(tmp_path / "pki", NOW)


def issue(authority, **fields):
    wanted = {"common_name": "server", "addresses": ["localhost", "127.0.0.1"], **fields}
    return authority.issue("server", **wanted)


def test_files_when_written_are_for_their_owner_only(authority):
    issue(authority)
    assert {path.stat().st_mode & 0o777 for path in authority.folder.iterdir()} == {0o600}


def test_issue_when_repeated_keeps_the_certificate(authority, tmp_path):
    first = issue(authority).certificate.read_bytes()
    again = pki.Authority(tmp_path / "pki", NOW)
    assert issue(again).certificate.read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [{"addresses": ["localhost"]}, {"common_name": "other"}, {"organisations": ["system:masters"]}],
    ids=["addresses", "common name", "organisation"],
)
def test_issue_when_something_changed_makes_a_new_one(authority, change):
    first = issue(authority).certificate.read_bytes()
    assert issue(authority, **change).certificate.read_bytes() != first


def test_issue_when_about_to_expire_makes_a_new_one(authority, tmp_path):
    first = issue(authority).certificate.read_bytes()
    later = pki.Authority(tmp_path / "pki", NOW + pki.LEAF_LIFETIME - pki.RENEW_BEFORE + DAY)
    assert issue(later).certificate.read_bytes() != first


def test_issue_when_authority_was_replaced_makes_a_new_one(authority, tmp_path):
    first = issue(authority).certificate.read_bytes()
    (tmp_path / "pki/ca.key").unlink()
    assert issue(pki.Authority(tmp_path / "pki", NOW)).certificate.read_bytes() != first


def test_pair_when_loaded_by_ssl_is_trusted_by_its_authority(authority):
    pair = issue(authority)
    context = ssl.create_default_context(cafile=str(authority.certificate_path))
    context.load_cert_chain(pair.certificate, pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    inbound, outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(inbound, outbound, server_hostname="127.0.0.1")
    answer = server.wrap_bio(outbound, inbound, server_side=True)
    for _ in range(4):
        for side in (client, answer):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.getpeercert()["subject"][-1][0] == ("commonName", "server")


def test_kubeconfig_when_made_holds_everything(authority):
    import yaml

    text = pki.kubeconfig(
        server="https://127.0.0.1:6443", ca=authority.certificate_path, client=issue(authority)
    )
    parsed = yaml.safe_load(text)
    assert parsed["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert set(parsed["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
