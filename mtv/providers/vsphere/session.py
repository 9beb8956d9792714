"""One login at a vCenter or an ESXi host: calls with timeouts, a new login when the session ends.

The server ends idle sessions (vCenter after 30 minutes) and all of them when it restarts. A call
that was refused for that was not carried out, so it is repeated after a new login, whatever it
does. A call whose connection broke may have been carried out: only reads are repeated then, and
who calls anything else (`power`, `nfc`) looks at the state before it tries again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import tenacity
from pyVmomi import SoapAdapter, VmomiSupport, vim

from mtv import errors
from mtv.inventory.model import Inventory, Moref
from mtv.providers.vsphere import decoding, faults, pull, watching
from mtv.providers.vsphere import endpoint as endpoints
from mtv.providers.vsphere.endpoint import Endpoint, Trust

if TYPE_CHECKING:
    import ssl

_LOG = logging.getLogger(__name__)

decoding.install()

CONNECT_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 120.0  # a page of a big inventory; longer than any wait that we ask for
LOGOUT_TIMEOUT_S = 5.0

# Methods that only read: repeated when their connection breaks.
_READS = frozenset(
    {
        "ContinueRetrievePropertiesEx",
        "CreateContainerView",
        "CreateFilter",
        "CreatePropertyCollector",
        "CurrentTime",
        "FetchUserPrivilegeOnEntities",
        "FindByInventoryPath",
        "FindByUuid",
        "HasUserPrivilegeOnEntities",
        "HttpNfcLeaseGetManifest",
        "HttpNfcLeaseProgress",
        "QueryChangedDiskAreas",
        "RetrieveContent",
        "RetrieveProperties",
        "RetrievePropertiesEx",
        "RetrieveServiceContent",
        "WaitForUpdatesEx",
    }
)
_SESSION_METHODS = frozenset({"Login", "Logout", "RetrieveContent", "RetrieveServiceContent"})

VSPHERE_READ = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type((OSError, HTTPException)),
    stop=tenacity.stop_after_attempt(3),
    wait=tenacity.wait_exponential(multiplier=0.2, max=2),
    reraise=True,
)


class Password(str):
    """A secret that does not show itself in logs and tracebacks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class _Stub(SoapAdapter.SoapStubAdapter):
    """pyvmomi's transport, with our answer to lost sessions and connections, and our errors."""

    def __init__(self, session: Session, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._session = session

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:
        """Call a method of the server; every call of pyvmomi comes through here."""
        call = super().InvokeMethod

        def attempt() -> Any:
            if info.wsdlName in _READS:
                return VSPHERE_READ.copy()(call, mo, info, args)
            return call(mo, info, args)

        doing = f"{info.wsdlName} on {mo._moId}"
        login = self._session.logins
        try:
            try:
                return attempt()
            except vim.fault.NotAuthenticated:
                if info.wsdlName in _SESSION_METHODS:
                    raise
                self._session.log_in_again(login)
                return attempt()
        except Exception as fault:  # parse errors of pyvmomi are of every class
            raise faults.translated(fault, self._session.server, doing) from fault


class Session:
    """A login at a vSphere API, as a context manager; logs out at the end.

    Threads may share it. `thumbprint`, `ca_pem` and `insecure` say which certificate is accepted;
    without any of them the system's CAs decide.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        *,
        ca_pem: str | None = None,
        thumbprint: str | None = None,
        insecure: bool = False,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self.endpoint = Endpoint.parse(url)
        self.user = user
        self.trust = Trust(ca_pem=ca_pem or "", thumbprint=thumbprint or "", insecure=insecure)
        self.timeout_s = timeout_s
        self.logins = 0
        self._password = Password(password)
        self._lock = threading.Lock()
        self._stub: _Stub | None = None
        self._content: vim.ServiceInstanceContent | None = None
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Session({self.endpoint}, {self.user})"

    @property
    def server(self) -> str:
        """The server as errors name it."""
        return self.endpoint.netloc

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect and log in. Raises Forbidden, CertificateRejected, NotVSphere, Unavailable."""
        if not self.user:
            raise errors.BadInput("no user name is given", field="user")
        connect_s = min(CONNECT_TIMEOUT_S, self.timeout_s)
        tls = self.trust.context(self.endpoint.host, self.endpoint.port, connect_s)
        offered = endpoints.api_versions(self.endpoint, tls, self.trust, connect_s)
        self._tls = tls
        self._stub = _Stub(
            self,
            host=self.endpoint.host,
            port=self.endpoint.port,
            path=self.endpoint.path,
            version=_newest_common_version(offered, self.server),
            sslContext=tls,
            httpConnectionTimeout=self.timeout_s,
        )
        service = vim.ServiceInstance("ServiceInstance", self._stub)
        self._content = service.RetrieveContent()
        self._log_in()

    def close(self) -> None:
        """Log out and drop the connections; a server that is gone is not an error."""
        stub, self._stub = self._stub, None
        content, self._content = self._content, None
        if stub is None:
            return
        stub.schemeArgs["timeout"] = LOGOUT_TIMEOUT_S
        try:
            if content is not None and content.sessionManager is not None and self.logins:
                content.sessionManager.Logout()
        except errors.MigrationError as error:
            _LOG.debug("logout at %s: %s", self.server, error)
        finally:
            stub.DropConnections()

    def _log_in(self) -> None:
        manager = self.content.sessionManager
        if manager is None:
            raise errors.SourceRefused(f"{self.server} offers no login")
        try:
            manager.Login(self.user, str(self._password), None)
        except errors.Forbidden as error:
            raise errors.Forbidden(
                f"{self.server} refuses the login of {self.user!r}: wrong user name or password, "
                "or the account is locked",
                hint=_login_hint(self.user, is_vcenter=self.is_vcenter),
            ) from error
        self.logins += 1

    def log_in_again(self, login: int) -> None:
        """Log in after login number `login` was found to have ended; once for all threads."""
        with self._lock:
            if self.logins == login:
                _LOG.info("the session at %s has ended; logging in again", self.server)
                self.stub.cookie = ""
                self._log_in()

    @property
    def stub(self) -> Any:
        """The transport that managed objects are made with."""
        if self._stub is None:
            raise errors.Bug("the vSphere session is not open")
        return self._stub

    @property
    def content(self) -> vim.ServiceInstanceContent:
        """The service content: the managers and the root folder."""
        if self._content is None:
            raise errors.Bug("the vSphere session is not open")
        return self._content

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS context that accepts this server's certificate, for other requests to it."""
        if self._tls is None:
            raise errors.Bug("the vSphere session is not open")
        return self._tls

    @property
    def is_vcenter(self) -> bool:
        """Whether this is a vCenter, or an ESXi host by itself."""
        return self.content.about.apiType == "VirtualCenter"

    @property
    def basic_credentials(self) -> str:
        """User and password as HTTP Basic wants them, for APIs beside the SOAP one."""
        return f"{self.user}:{self._password}"

    @property
    def cookie(self) -> str:
        """The session's cookie as a `Cookie:` header wants it; changes with each login."""
        return str(self.stub.cookie).split(";")[0]

    def pull(self) -> Inventory:
        """Read the whole inventory."""
        return pull.inventory(self)

    def watch(
        self,
        on_change: Callable[[Inventory], None],
        stop: threading.Event,
        *,
        on_lost: Callable[[errors.MigrationError], None] | None = None,
    ) -> None:
        """Call `on_change` with the inventory, and again after each change, until `stop` is set.

        `on_lost` hears of each break of the connection, which is then made anew. Returns within two
        seconds of `stop`. Raises NeedsOperator errors (a password that was changed, say).
        """
        watching.watch(self, on_change, stop, on_lost=on_lost or (lambda _: None))

    def read(self, moref: Moref, kind: type[Any], paths: Sequence[str]) -> Mapping[str, Any]:
        """Return the properties of one managed object; unset ones are left out. Raises Gone."""
        return pull.properties_of(self, [kind(moref, self.stub)], kind, paths)[moref]


def _login_hint(user: str, *, is_vcenter: bool) -> str:
    if is_vcenter and "@" not in user and "\\" not in user:
        return (
            f"{user!r} has no domain: write it as {user}@vsphere.local (vCenter's own accounts), "
            f"or {user}@your.domain or DOMAIN\\{user} (Active Directory)"
        )
    return "try the same user and password in the vSphere client; locked accounts are freed there"


def _newest_common_version(offered: frozenset[str], server: str) -> str:
    for version in VmomiSupport.GetServiceVersions("vim25"):
        if VmomiSupport.versionIdMap[version] in offered:
            return str(version)
    raise endpoints.NotVSphere(
        f"{server} speaks the API versions {', '.join(sorted(offered))}, none of which is known",
        hint="vSphere 5.5 or newer is expected",
    )
