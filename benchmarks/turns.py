"""Ways to do the same work, measured side by side."""

import time
from collections.abc import Callable, Mapping


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each way, all ways taken in turns."""
    seconds = {name: float("inf") for name in ways}
    for number in range(rounds + 1):  # the first is for warming up
        for name, work in ways.items():
            start = time.process_time()
            work()
            if number:
                seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds
