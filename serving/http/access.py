"""Access control by API keys, of which the server stores only hashes."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from starlette.requests import Request

from artifacts import VitrineError
from serving.http.key_file import KeyFile
from serving.problems import RequestError
from serving.settings import PREFIX, Settings

Scope = Literal["read", "write"]
SCOPES: tuple[Scope, ...] = ("read", "write")
LOCAL = "local"
"""Name of the caller, in the change log, if no keys are set."""
EVERYBODY = "everybody"
"""Name of a caller who uses an open operation without a key."""
PROXY_HEADERS = frozenset(
    {"via", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip"}
    | {"cf-connecting-ip", "fastly-client-ip", "x-original-host", "x-envoy-external-address"}
)
"""Headers that proxies add, besides those that begin with `x-forwarded-`; no client sends them."""
HTTP_PORT = 80

VARIABLE = f"{PREFIX}API_KEYS"
ENTRY_PATTERN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<scopes>[a-z+]+):(?P<hash>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class ApiKey:
    """One key: the name of its owner, its scopes, and the sha256 of the key itself."""

    name: str
    scopes: frozenset[str]
    hash: str


@dataclass(frozen=True)
class Access:
    """The keys of a server, and the operations and addresses to which they apply.

    If there are no keys, operations that need one are open to this machine and closed to others.
    """

    fixed: tuple[ApiKey, ...] = ()
    """Keys that stay the same as long as the server runs."""
    opened: frozenset[str] = frozenset()
    closed: tuple[str, ...] = ()
    """Addresses that, with everything below them, need a key with the scope `read`."""
    file: KeyFile[ApiKey] | None = None
    """Further keys, which may change."""

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys that are accepted now."""
        return self.fixed if self.file is None else (*self.fixed, *self.file.keys())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read `VITRINE_API_KEYS`, `VITRINE_API_KEYS_FILE`, `VITRINE_OPEN` and `VITRINE_CLOSED`.

        Raises:
            VitrineError: an entry is not valid, or the settings contradict each other.
        """
        keys = _parse(settings.api_keys)
        file = None
        if settings.api_keys_file is not None:
            path = Path(settings.api_keys_file)
            file = KeyFile(path, lambda entries: _parse(entries, str(path), keys))
        if settings.closed and not keys and file is None:
            raise VitrineError(
                "VITRINE_CLOSED needs VITRINE_API_KEYS: without keys, nobody has access."
            )
        return cls(keys, frozenset(settings.open), settings.closed, file)

    def check_address(self, request: Request) -> None:
        """Check that a request to a closed address has a key.

        Raises:
            RequestError: the address is closed, and no key with the scope `read` was sent.
        """
        path = request.scope["path"].rstrip("/") + "/"
        paths = (path, _native(path))
        if any(
            each.startswith(closed.rstrip("/") + "/") for closed in self.closed for each in paths
        ):
            self.check(request, "read")

    def check(self, request: Request, scope: Scope, operation: str | None = None) -> str:
        """Check that a request is allowed.

        Args:
            request: has a header `Authorization: Bearer KEY` if keys are set.
            scope: the scope that the key must have.
            operation: one of `serving.settings.OPENABLE`, if the request is for one of them.

        Returns:
            Name of the caller, for the change log.

        Raises:
            RequestError: the key is missing, unknown or lacks the scope; or no keys are set, and
                the request is from another machine or from the page of another site.
        """
        keys = self.keys
        if not keys:
            if _from_this_machine(request):
                return LOCAL
            raise RequestError(
                "this-machine-only",
                "this server has no API keys, so this address accepts only requests from the "
                "server's machine to localhost, and none through proxies or from pages of other "
                "sites; set "
                "VITRINE_API_KEYS (`vitrine key NAME` makes a key).",
            )
        key = _key(request, keys)
        if key is not None and scope in key.scopes:
            return key.name
        if operation in self.opened:
            return EVERYBODY
        if key is None:
            raise RequestError(
                "no-key",
                f"a key with the scope {scope!r} is needed; send `Authorization: Bearer KEY`.",
            )
        raise RequestError(
            "scope-missing",
            f"the key of {key.name!r} has the scope {' and '.join(sorted(key.scopes))}; this "
            f"needs {scope!r}.",
        )

    def name_of(self, request: Request) -> str | None:
        """The name of the key that a request has; None if it has none that is known."""
        key = _key(request, self.keys)
        return None if key is None else key.name


def make_key(name: str, scopes: str) -> tuple[str, str]:
    """Make a new key, and its entry for `VITRINE_API_KEYS`.

    A key has 256 random bits and cannot be guessed, so sha256 protects it well enough; slow hashes
    are for passwords.

    Raises:
        VitrineError: the name is not valid.
    """
    key = secrets.token_urlsafe(32)
    entry = f"{name}:{scopes}:{hash_key(key)}"
    if not ENTRY_PATTERN.fullmatch(entry):
        raise VitrineError(
            f"{name!r} is not a name for a key; use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'."
        )
    return key, entry


def hash_key(key: str) -> str:
    """Return the sha256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback interface, which others cannot reach."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _native(path: str) -> str:
    """Return the address under `/v1` of a model's address in the Open Inference Protocol.

    What is closed there must not be open here. Other addresses are returned as they are.
    """
    path = re.sub(r"^/v2/models/([^/]+)/versions/([^/]+)/", r"/v2/models/\1@\2/", path)
    return re.sub("^/v2/models/", "/v1/models/", path)


def _from_this_machine(request: Request) -> bool:
    """Whether a request comes from this machine, and neither through a proxy nor from other pages.

    Browsers name the origin of a page that sends a request, unless it is a plain GET of the same
    origin (RFC 6454), and state its relation to this server (W3C Fetch Metadata). A page whose own
    host name was made to resolve to this machine (DNS rebinding) is recognised by that name. Behind
    a proxy, every client seems to be this machine.
    """
    headers = request.headers
    if any(name in PROXY_HEADERS or name.startswith("x-forwarded-") for name in headers):
        return False
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    hosts = headers.getlist("host") or ["localhost"]
    own = {_host_and_port(host) for host in hosts}
    return (
        is_loopback(request.client.host if request.client else "")
        and all(is_loopback(host) for host, _ in own)
        and all(_origin(origin) in own for origin in headers.getlist("origin"))
    )


def _host_and_port(given: str) -> tuple[str, int]:
    """Return the name and the port of a Host header; an empty name if it is not valid."""
    if re.search(r"[@/?#\\\s]", given):
        return "", 0
    try:
        parts = urlsplit(f"//{given}")
        port = parts.port or HTTP_PORT
    except ValueError:
        return "", 0
    return parts.hostname or "", port


def _origin(given: str) -> tuple[str, int] | None:
    """Return the name and the port of an Origin header; None if it is not of http, such as null."""
    scheme, _, rest = given.partition("://")
    return _host_and_port(rest) if scheme.lower() == "http" else None


def _key(request: Request, keys: Sequence[ApiKey]) -> ApiKey | None:
    """Return the key that a request has, if it is one of these."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return _find(keys, given.strip()) if kind.lower() == "bearer" else None


def _find(keys: Sequence[ApiKey], given: str) -> ApiKey | None:
    """Find a key; all entries are compared, in constant time, so that timing leaks nothing."""
    digest = hash_key(given)
    found = None
    for key in keys:
        if hmac.compare_digest(key.hash, digest):
            found = key
    return found


def _parse(
    entries: Sequence[str], source: str = VARIABLE, others: Sequence[ApiKey] = ()
) -> tuple[ApiKey, ...]:
    """Make keys of entries; `others` are those that are accepted besides them."""
    keys = tuple(_parse_entry(entry, place, source) for place, entry in enumerate(entries, 1))
    names = [key.name for key in (*others, *keys)]
    if len(set(names)) != len(names):
        raise VitrineError(f"{source} has two keys with the same name; rename one.")
    return keys


def _parse_entry(entry: str, place: int, source: str) -> ApiKey:
    match = ENTRY_PATTERN.fullmatch(entry)
    scopes = set(match["scopes"].split("+")) if match else set()
    if match is None or not scopes <= set(SCOPES):
        raise VitrineError(  # the entry is not quoted: it may be a key put there by mistake
            f"entry {place} of {source} is not NAME:SCOPES:SHA256 with scopes read, write "
            "or read+write; `vitrine key NAME` makes a valid one."
        )
    return ApiKey(match["name"], frozenset(scopes), match["hash"])
