"""Admission control: bounds the pixels and bytes in flight, not the number of requests.

Requests differ in cost by a factor of 10^5: decoding and inference take time per pixel, waiting
takes memory per byte. A request that does not fit is refused at once (429), because an unbounded
queue would answer every client late.
"""

from serving.observability import metrics
from serving.pictures.limits import MAX_BODY_BYTES
from serving.problems import RequestError

MIN_PIXELS = 224 * 224
"""What a picture counts as at least: the request around it and the network have a cost, too."""
MAX_BYTES = 16 * MAX_BODY_BYTES
"""Bytes of request bodies in flight at one worker."""


class Budget:
    """How much work one worker may have in flight.

    Args:
        pixels: pixels of pictures that wait or are being worked on. A single request is always
            accepted when no other is in flight, whatever its size.
        size: bytes of bodies that are arriving, waiting or being worked on, in memory.
        disk: bytes of large bodies that are kept on disk while they are answered.
    """

    def __init__(self, pixels: int, size: int = MAX_BYTES, disk: int = 2_000_000_000) -> None:
        self.pixels = pixels
        self.disk = disk
        self.bytes = size
        self.pixels_taken = 0
        self.bytes_taken = 0
        self.disk_taken = 0

    def place(self) -> "Place":
        """An empty share of the budget for one request."""
        return Place(self)


class Place:
    """One request's share of a budget. It is used on the event loop's thread only."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pixels = 0
        self._bytes = 0
        self._disk = 0

    @property
    def disk_limit(self) -> int:
        """Bytes of one body that are kept on disk at most."""
        return self._budget.disk

    def take_bytes(self, size: int) -> None:
        """Take room for a piece of a body.

        Raises:
            RequestError: other requests have taken it.
        """
        budget = self._budget
        if budget.bytes_taken > self._bytes and budget.bytes_taken + size > budget.bytes:
            raise _overloaded(f"{budget.bytes_taken // 1_000_000} MB of requests")
        self._bytes += size
        budget.bytes_taken += size

    def give_bytes(self, size: int) -> None:
        """Give back the room of a piece that is no longer held in memory."""
        self._bytes -= size
        self._budget.bytes_taken -= size

    def take_pixels(self, sizes: list[int]) -> None:
        """Take room for decoded pictures of these numbers of pixels.

        Raises:
            RequestError: other requests have taken it.
        """
        pixels = sum(max(size, MIN_PIXELS) for size in sizes)
        budget = self._budget
        if budget.pixels_taken > self._pixels and budget.pixels_taken + pixels > budget.pixels:
            raise _overloaded(f"{budget.pixels_taken // 1_000_000} megapixels")
        self._pixels += pixels
        budget.pixels_taken += pixels
        metrics.pixels.inc(pixels)

    def has_room(self, sizes: list[int]) -> bool:
        """Return whether `take_pixels` would succeed."""
        pixels = sum(max(size, MIN_PIXELS) for size in sizes)
        others = self._budget.pixels_taken - self._pixels
        return not others or self._budget.pixels_taken + pixels <= self._budget.pixels

    def give_pixels(self) -> None:
        """Give back the room of all decoded pictures, of which none is held any more."""
        self._budget.pixels_taken -= self._pixels
        metrics.pixels.dec(self._pixels)
        self._pixels = 0

    def take_disk(self, size: int) -> None:
        """Take room on the disk for a piece of a body.

        Raises:
            RequestError: other requests have taken it.
        """
        budget = self._budget
        if budget.disk_taken > self._disk and budget.disk_taken + size > budget.disk:
            raise _overloaded(f"{budget.disk_taken // 1_000_000} MB of large requests")
        self._disk += size
        budget.disk_taken += size

    def release(self) -> None:
        """Give everything back."""
        self.give_pixels()
        self._budget.bytes_taken -= self._bytes
        self._budget.disk_taken -= self._disk
        self._bytes = self._disk = 0


def _overloaded(taken: str) -> RequestError:
    return RequestError("overloaded", f"{taken} are under way already; try again a little later.")
