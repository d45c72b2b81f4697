"""Divides files among jobs that run at the same time, on one machine or on many."""

import hashlib
import re
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a set of files.

    A file belongs to the shard that the hash of its name says. Each is in exactly one shard, and
    stays in it when other files come and go, so that a job which is started again finds its rows.
    Numbering the files instead would move nearly all of them when one is added. The price is that
    shards of n files differ in size, by about the square root of n.
    """

    number: int
    """From 1 to `count`."""
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, name: str) -> bool:
        """Return whether a file belongs to this shard.

        Args:
            name: as `find_files` gives it. Bytes that are not UTF-8 are surrogates, as in Python's
                names of files.
        """
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def _parse(_context: click.Context, _option: click.Parameter, given: str | None) -> Shard | None:
    """Return the shard that an option names.

    Raises:
        BadParameter: it is not I/N, with I from 1 to N.
    """
    if given is None:
        return None
    parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", given)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise click.BadParameter(
            f"{given!r} is no shard; write I/N with I from 1 to N, such as 1/4 to 4/4 for four "
            "jobs."
        )
    return Shard(int(parts[1]), int(parts[2]))


shard_option = click.option(
    "--shard",
    callback=_parse,
    metavar="I/N",
    help="Only the I-th of N parts of the pictures, for N jobs side by side; see docs/scale.md.",
)
