"""How long the batches of each model have taken, and what may be expected of the next ones."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from artifacts.runtime import Runtime

MAX_INLINE_SECONDS = 0.003
"""Longest time that one batch may block the event loop."""
MIN_SPREAD_SECONDS = 0.001
"""Shortest batch that is spread over all cores when one request has the server to itself."""
NEWEST = 0.03
"""Weight of the newest batch in the means from which waiting times are predicted."""


@dataclass
class _Means:
    """How long a lane takes for a model: means over recent batches, which share the cores."""

    per_picture: float = 0.0
    """0 until a batch has been run."""
    per_byte: float = 2e-8
    """A guess until then, so that pictures that wait for the first batch take turns, too."""


class Costs:
    """The costs of every model, in seconds: on the clock, and of processor time."""

    def __init__(self) -> None:
        self._means: WeakKeyDictionary[Runtime, _Means] = WeakKeyDictionary()
        self._pace: WeakKeyDictionary[Runtime, float] = WeakKeyDictionary()
        """Seconds of processor time per byte of pictures, from the latest batch of each model."""

    def add(self, runtime: Runtime, seconds: float, pictures: int, size: int) -> None:
        """Take account of the time that passed for a batch of `pictures` of `size` bytes in all."""
        means = self._means.setdefault(runtime, _Means())
        weight = NEWEST if means.per_picture else 1.0
        means.per_picture += weight * (seconds / pictures - means.per_picture)
        means.per_byte += weight * (seconds / size - means.per_byte)

    def add_processor_time(self, runtime: Runtime, seconds: float, size: int) -> None:
        """Take account of the processor time of a batch of `size` bytes on one thread."""
        self._pace[runtime] = seconds / size

    def per_picture(self, runtime: Runtime) -> float:
        """Return the mean time that a lane takes for a picture; 0 until a batch has been run."""
        means = self._means.get(runtime)
        return 0.0 if means is None else means.per_picture

    def per_byte(self, runtime: Runtime) -> float:
        """Return the mean time that a lane takes for a byte; a guess until a batch has been run."""
        return self._means.setdefault(runtime, _Means()).per_byte

    def inline_pictures(self, runtime: Runtime, size: int) -> int:
        """Return how many pictures of `size` bytes take `MAX_INLINE_SECONDS` of processor time.

        It is 0 until a batch has been run.
        """
        pace = self._pace.get(runtime)
        return 0 if pace is None else int(MAX_INLINE_SECONDS / (pace * size))

    def gains_by_cores(self, runtime: Runtime, size: int) -> bool:
        """Whether a batch of `size` bytes would be answered earlier if it used all cores."""
        seconds = self._pace.get(runtime, 0.0) * size
        return runtime.spreads and seconds >= MIN_SPREAD_SECONDS
