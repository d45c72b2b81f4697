"""The server without some of its optimizations, for `benchmarks.tricks`.

`BENCHMARK_WITHOUT` names the optimizations to switch off, separated by commas. The server itself
has no such switches: they are patched away here, before `serving.worker` is imported.
"""

import math
import os
from collections.abc import Callable
from typing import Any

from serving.http import fast_path, intake
from serving.inference import costs


def _without_fast_path() -> None:
    def whole(app: Any, answer: Any) -> Any:
        del answer
        return app

    fast_path.FastPath = whole  # type: ignore[assignment,misc]


def _without_all_core_session() -> None:
    costs.MIN_SPREAD_SECONDS = math.inf


def _without_inline_networks() -> None:
    costs.MAX_INLINE_SECONDS = 0.0


def _without_inline_decoding() -> None:
    intake.MAX_INLINE_PIXELS = -1


TRICKS: dict[str, Callable[[], None]] = {
    "fast path": _without_fast_path,
    "all-core session": _without_all_core_session,
    "networks on the event loop": _without_inline_networks,
    "decoding on the event loop": _without_inline_decoding,
}

for _name in filter(None, os.environ.get("BENCHMARK_WITHOUT", "").split(",")):
    TRICKS[_name]()

from serving.service import Vitrine  # noqa: E402 - after the patches

__all__ = ["TRICKS", "Vitrine"]
