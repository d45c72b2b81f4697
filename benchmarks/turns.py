"""Measures alternative implementations of the same work in alternation."""

import time
from collections.abc import Callable, Mapping


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the minimum CPU seconds of each function; the functions run in alternation."""
    seconds = {name: float("inf") for name in ways}
    for number in range(rounds + 1):  # the first round is the warm-up
        for name, work in ways.items():
            start = time.process_time()
            work()
            if number:
                seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds
