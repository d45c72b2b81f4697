"""Receives requests of many pictures; from 20 MB on they are kept on disk, not in memory."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO

from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from serving.http.body import (
    PICTURE_FIELD,
    content_type,
    media_type,
    on_disk,
    read_contents,
)
from serving.http.forms import FormReader, options_of, reading_form
from serving.http.middleware import context_of
from serving.http.wrong_bodies import FORM, check_body
from serving.pictures.archives import (
    ARCHIVES,
    GZIP,
    MAX_NAME,
    TAR,
    Member,
    Stretch,
    archive_members,
    gunzip,
)
from serving.pictures.cancellation import run
from serving.pictures.limits import MAX_BODY_BYTES
from serving.problems import RequestError


class Spool:
    """A body that is kept in memory, and moved to a file on disk once it is large.

    What is on disk counts as such in the request's share of the budget, and no longer as memory.

    Args:
        request: the request that the body belongs to.
    """

    def __init__(self, request: Request) -> None:
        self._context = context_of(request)
        self.file: IO[bytes] = BytesIO()
        self.size = 0
        """Bytes that were received."""
        self.limit: int = self._context.place.disk_limit
        """Most bytes that are accepted."""
        self.on_disk = False

    async def receive(self, request: Request, announced: int) -> AsyncIterator[bytes]:
        """Yield the pieces of the body as they arrive; the caller writes what it needs to `file`.

        Raises:
            RequestError: it is too large, or there is no room on the disk now.
        """
        if announced > self.limit:
            raise self._too_large()
        allowed = MAX_BODY_BYTES  # bytes in the time that a request has
        async for piece in request.stream():
            self.size += len(piece)
            if self.size > self.limit:
                raise self._too_large()
            yield piece
            if self.on_disk:
                self._count(len(piece))
            elif self.size > MAX_BODY_BYTES:
                self._move_to_disk()
            if self.size > allowed:
                allowed += MAX_BODY_BYTES
                self._context.deadline.extend()

    def replace(self, file: IO[bytes], size: int) -> None:
        """Keep another file on disk instead.

        Raises:
            RequestError: there is no room for it now.
        """
        self.file.close()
        self.file, self.on_disk = file, True
        self._context.place.take_disk(size)

    def _move_to_disk(self) -> None:
        disk = TemporaryFile()  # noqa: SIM115 - whoever made this spool closes it
        self.file.seek(0)
        disk.write(self.file.read())
        self.file, self.on_disk = disk, True
        self._count(self.size)

    def _count(self, size: int) -> None:
        self._context.place.give_bytes(size)
        self._context.place.take_disk(size)

    def _too_large(self) -> RequestError:
        return RequestError(
            "body-too-large",
            f"the body has more than {self.limit // 1_000_000:,} MB; send fewer pictures in one "
            "request.",
        )


@contextmanager
def spool_of(request: Request) -> Iterator[Spool]:
    """Yield an empty spool for the body of a request, and remove it in the end."""
    spool = Spool(request)
    with on_disk():
        try:
            yield spool
        finally:
            spool.file.close()


def holds_archive(request: Request) -> bool:
    """Return whether the body of a request is labelled as an archive."""
    return media_type(request) in ARCHIVES


async def read_members(request: Request, spool: Spool, pool: Executor) -> list[Member]:
    """Receive a form, an archive or a single picture, and find the pictures in it.

    Args:
        request: the request.
        spool: where the pictures are kept; they can be read until its file is closed.
        pool: threads that archives are opened in.

    Raises:
        RequestError: the body is too large, cannot be read, or has no picture.
    """
    kind, boundary = content_type(request)
    announced = request.headers.get("content-length", "")
    pieces = spool.receive(request, int(announced) if announced.isdecimal() else 0)
    if kind == FORM:
        return await _read_form(request, pieces, boundary, spool)
    if kind not in ARCHIVES:
        contents = await read_contents(request)
        return [Member(None, partial(bytes, content)) for content in contents]
    async for piece in pieces:
        if not spool.size - len(piece):
            check_body(
                request, piece, kind, f"-H 'Content-Type: {kind.decode()}' --data-binary @FILE"
            )
        spool.file.write(piece)
    if not spool.size:
        raise RequestError("no-picture", "the body is empty; send an archive of pictures.")
    return await _open_archive(ARCHIVES[kind], spool, pool)


async def _open_archive(kind: str, spool: Spool, pool: Executor) -> list[Member]:
    size = spool.size
    if kind == GZIP:
        plain = TemporaryFile()  # noqa: SIM115 - the spool closes it
        try:
            size = await run(pool, partial(gunzip, spool.file, plain, spool.limit))
        except BaseException:
            plain.close()
            raise
        spool.replace(plain, size)
        kind = TAR
    limit = size if kind == TAR else spool.limit
    return await run(pool, partial(archive_members, spool, kind, limit))


async def _read_form(
    request: Request, pieces: AsyncIterator[bytes], boundary: bytes, spool: Spool
) -> list[Member]:
    reader = _SpooledForm(spool)
    with reading_form(reader):
        parser = MultipartParser(boundary, reader.callbacks())
        async for piece in pieces:
            if not spool.size - len(piece):
                check_body(request, piece, FORM, "-F image=@picture.jpg")
            parser.write(piece)
        parser.finalize()
    if not reader.members:
        raise RequestError(
            "no-picture", f"the form has no field {PICTURE_FIELD!r}; send pictures under that name."
        )
    return reader.members


class _SpooledForm(FormReader):
    """Writes the pictures of a form to a spool, one after the other."""

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self.members: list[Member] = []
        self._spool = spool
        self._wanted = False
        self._name: str | None = None
        self._start = self._end = 0

    def begin(self) -> None:
        options = options_of(self.disposition)
        self._wanted = options.get(b"name") == PICTURE_FIELD.encode()
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._name = name[:MAX_NAME] or None
        self._start = self._end

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._spool.file.write(data[start:end])
            self._end += end - start

    def end(self) -> None:
        if self._wanted:
            where = Stretch(self._spool, self._start, self._end - self._start)
            self.members.append(Member(self._name, where.read))
