"""Certificates are made, kept, and replaced so that no connection fails meanwhile."""

import datetime

from mtv.api import installation
from mtv_operator.certificates import issuing, rotation
from mtv_operator.certificates.issuing import Pair
from mtv_operator.certificates.rotation import KeepAuthority, KeepBundle, KeepServer, Lifetimes
from mtv_operator.virt_operator import certificates

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class Store:
    """What was stored, as the API server would keep it."""

    def __init__(self) -> None:
        self.authority, self.bundle, self.servers = {}, "", {}

    def step(self, now) -> list[rotation.Action]:
        actions = rotation.decide(
            self.authority, self.bundle, self.servers, certificates.SERVERS, Lifetimes(), now
        )
        for action in actions:
            match action:
                case KeepAuthority(data=data):
                    self.authority = data
                case KeepBundle(text=text):
                    self.bundle = text
                case KeepServer(name=name, pair=pair):
                    self.servers[name] = {"tls.crt": pair.certificate, "tls.key": pair.key}
        return actions

    def is_believed(self, name: str, now) -> bool:
        """Tell whether a server's certificate is of an authority in the bundle."""
        pair = Pair(certificate=self.servers[name]["tls.crt"], key=self.servers[name]["tls.key"])
        mark = "-----BEGIN"
        for one in self.bundle.split(mark)[1:]:
            authority = Pair(certificate=(mark + one).encode(), key=b"")
            nothing = datetime.timedelta()
            if issuing.fits(pair, authority, certificates.SERVERS[name], now, nothing):
                return True
        return False


def test_from_nothing_all_is_made_and_then_kept():
    store = Store()

    assert len(store.step(NOW)) == 2 + len(certificates.SERVERS)
    assert store.step(NOW + HOUR) == []


def test_over_a_month_every_server_is_always_believed():
    store = Store()
    store.step(NOW)
    authorities = set()
    now = NOW
    while now < NOW + datetime.timedelta(days=30):
        before = store.bundle
        store.step(now)
        authorities.add(store.authority["tls.crt"])
        for name in certificates.SERVERS:
            assert store.is_believed(name, now)
            # Whoever has not seen the newest bundle yet believes it too.
            newest, store.bundle = store.bundle, before
            assert store.is_believed(name, now)
            store.bundle = newest
        now += datetime.timedelta(minutes=10)
    assert len(authorities) >= 5


def test_a_damaged_authority_is_replaced():
    store = Store()
    store.step(NOW)
    store.authority = {**store.authority, "tls.key": b"nonsense"}

    assert any(isinstance(one, KeepAuthority) for one in store.step(NOW))


def test_durations_are_gos():
    server = installation.CertConfig(duration="48h30m0s", renew_before="soon")
    strategy = installation.KubeVirtCertificateRotateStrategy(
        self_signed=installation.KubeVirtSelfSignConfiguration(server=server)
    )
    spec = installation.KubeVirtSpec(certificate_rotate_strategy=strategy)
    found = certificates.lifetimes(installation.KubeVirt(spec=spec))

    assert found.server == 48.5 * HOUR
    assert found.server_renew == Lifetimes().server_renew
