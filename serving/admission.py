"""What is taken on at once: pixels and bytes, not requests, since these differ by a factor of 10^5.

Decoding and inference take time by the pixel, waiting takes memory by the byte. What does not fit
is refused at once (429): a queue without end would answer everybody late and nobody in time.
"""

from serving import metrics
from serving.pictures import MAX_BODY_BYTES
from serving.problems import RequestError

LEAST_PIXELS = 224 * 224
"""What a picture is counted as, however small: the request around it and the network cost, too."""
MAX_BYTES = 16 * MAX_BODY_BYTES
"""Of bodies in flight at one worker."""


class Budget:
    """What one worker may have under way.

    Args:
        pixels: of pictures that wait or are worked on. One request is always taken when there is
            no other, whatever its size.
        size: bytes of bodies that arrive, wait or are worked on.
    """

    def __init__(self, pixels: int, size: int = MAX_BYTES) -> None:
        self.pixels = pixels
        self.bytes = size
        self.pixels_taken = 0
        self.bytes_taken = 0

    def place(self) -> "Place":
        """For one request, empty as yet."""
        return Place(self)


class Place:
    """What one request takes of a budget. All from the event loop's thread."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pixels = 0
        self._bytes = 0

    def take_bytes(self, size: int) -> None:
        """Take room for a piece of a body.

        Raises:
            RequestError: the others have it.
        """
        budget = self._budget
        if budget.bytes_taken > self._bytes and budget.bytes_taken + size > budget.bytes:
            raise _full(f"{budget.bytes_taken // 1_000_000} MB of requests")
        self._bytes += size
        budget.bytes_taken += size

    def give_bytes(self, size: int) -> None:
        """Give back room of a piece that is held in memory no longer."""
        self._bytes -= size
        self._budget.bytes_taken -= size

    def take_pixels(self, sizes: list[int]) -> None:
        """Take room for decoded pictures of these numbers of pixels.

        Raises:
            RequestError: the others have it.
        """
        pixels = sum(max(size, LEAST_PIXELS) for size in sizes)
        budget = self._budget
        if budget.pixels_taken > self._pixels and budget.pixels_taken + pixels > budget.pixels:
            raise _full(f"{budget.pixels_taken // 1_000_000} megapixels")
        self._pixels += pixels
        budget.pixels_taken += pixels
        metrics.pixels.inc(pixels)

    def leave(self) -> None:
        """Give everything back."""
        self._budget.bytes_taken -= self._bytes
        self._budget.pixels_taken -= self._pixels
        metrics.pixels.dec(self._pixels)
        self._bytes = self._pixels = 0


def _full(what: str) -> RequestError:
    return RequestError("overloaded", f"{what} are under way already; try again a little later.")
