"""What all tests of training share."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def _own_precision() -> Iterator[None]:
    """Let no test find the precision of another one, which accelerate keeps for the process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()
