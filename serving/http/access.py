"""Who may do what: API keys, of which the server knows hashes only."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, Self

from fastapi.security import HTTPBearer
from starlette.requests import Request

from artifacts import VitrineError
from serving.problems import RequestError
from serving.settings import Settings

Scope = Literal["read", "write"]
SCOPES: tuple[Scope, ...] = ("read", "write")
LOCAL = "local"
"""Who acts where no keys are set."""
EVERYBODY = "everybody"
"""Who acts on an open operation without a key."""
bearer = HTTPBearer(auto_error=False, description="not needed where no API keys are set")
"""Describes the keys in the OpenAPI document; `Access.check` is what enforces them."""

ENTRY_PATTERN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<scopes>[a-z+]+):(?P<hash>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class ApiKey:
    """One key: its owner's name, what it allows, and sha256 of the key itself."""

    name: str
    scopes: frozenset[str]
    hash: str


@dataclass(frozen=True)
class Access:
    """The keys of a server and the operations that need none.

    Without any key, everything is open to this machine and closed to all others.
    """

    keys: tuple[ApiKey, ...] = ()
    opened: frozenset[str] = frozenset()
    closed: tuple[str, ...] = ()
    """Addresses that need a key with the scope `read`, with all below them."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The keys and open operations of `VITRINE_API_KEYS`, `VITRINE_OPEN` and `VITRINE_CLOSED`.

        Raises:
            VitrineError: an entry is not valid, or the settings contradict each other.
        """
        keys = tuple(_parse_entry(entry, place) for place, entry in enumerate(settings.api_keys, 1))
        names = [key.name for key in keys]
        if len(set(names)) != len(names):
            raise VitrineError("VITRINE_API_KEYS has two keys of one name; give each its own.")
        if settings.closed and not keys:
            raise VitrineError("VITRINE_CLOSED needs VITRINE_API_KEYS: no key could open them.")
        return cls(keys, frozenset(settings.open), settings.closed)

    def check_address(self, request: Request) -> None:
        """Let a request pass, or not, by its address alone.

        Raises:
            RequestError: the address is closed, and no key with the scope `read` was sent.
        """
        path = request.scope["path"].rstrip("/") + "/"
        if any(path.startswith(address.rstrip("/") + "/") for address in self.closed):
            self.check(request, "read")

    def check(self, request: Request, scope: Scope, operation: str | None = None) -> str:
        """Let a request pass, or not.

        Args:
            request: with `Authorization: Bearer KEY` where keys are set.
            scope: that the key must have.
            operation: one of `serving.settings.OPENABLE`, where the request asks for one.

        Returns:
            Name of the key's owner, for the change log.

        Raises:
            RequestError: no key or a wrong one, not allowed to it, or from another machine while
                no keys are set.
        """
        if not self.keys:
            if is_loopback(request.client.host if request.client else "") and _from_own_page(
                request
            ):
                return LOCAL
            raise RequestError(
                "this-machine-only",
                "no API keys are set on this server, so faces answer to its own machine alone, by "
                "the machine's own name, and to no page from elsewhere; set "
                "VITRINE_API_KEYS (`python -m serving key NAME` makes one).",
            )
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        key = self._find(given.strip()) if kind.lower() == "bearer" else None
        if key is not None and scope in key.scopes:
            return key.name
        if operation in self.opened:
            return EVERYBODY
        if key is None:
            raise RequestError(
                "no-key", f"a key with scope {scope!r} is needed: `Authorization: Bearer KEY`."
            )
        raise RequestError(
            "scope-missing",
            f"the key of {key.name!r} allows {' and '.join(sorted(key.scopes))}; this needs "
            f"{scope!r}.",
        )

    def _find(self, given: str) -> ApiKey | None:
        """The key, compared with every entry and in constant time, so that time tells nothing."""
        digest = hash_key(given)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.hash, digest):
                found = key
        return found


def make_key(name: str, scopes: str) -> tuple[str, str]:
    """A new key, and its entry for `VITRINE_API_KEYS`.

    256 random bits cannot be guessed, so a plain hash protects them: slow ones are for passwords.

    Raises:
        VitrineError: the name is not one.
    """
    key = secrets.token_urlsafe(32)
    entry = f"{name}:{scopes}:{hash_key(key)}"
    if not ENTRY_PATTERN.fullmatch(entry):
        raise VitrineError(
            f"{name!r} is no name for a key; 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'."
        )
    return key, entry


def hash_key(key: str) -> str:
    """sha256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, unreachable from others."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _from_own_page(request: Request) -> bool:
    """Whether a request from this machine is its user's, not made by a page from elsewhere.

    Browsers tell which site a page is from (W3C Fetch Metadata); a page whose own name was made to
    point here is told by that name.
    """
    site = request.headers.get("sec-fetch-site", "none")
    host = request.headers.get("host")
    name = re.sub(r":\d+$", "", host).strip("[]") if host else "localhost"
    return site in {"none", "same-origin"} and is_loopback(name)


def _parse_entry(entry: str, place: int) -> ApiKey:
    match = ENTRY_PATTERN.fullmatch(entry)
    scopes = set(match["scopes"].split("+")) if match else set()
    if match is None or not scopes <= set(SCOPES):
        raise VitrineError(  # the entry itself may be a key that was put there by mistake
            f"entry {place} of VITRINE_API_KEYS is not NAME:SCOPES:SHA256 with scopes read, write "
            "or read+write; `python -m serving key NAME` makes one."
        )
    return ApiKey(match["name"], frozenset(scopes), match["hash"])
