"""What the processes of one run agree on before it starts, on one host or on several."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from training.recipe import RecipeError


def check_alike(name: str, facts: Mapping[str, str]) -> None:
    """Check that all processes train the same recipe, by the same code, on the same pictures.

    Processes that differ would train on batches of different pictures, or wait for one another for
    ever, without an error. Every process calls this.

    Args:
        name: Of the artifact.
        facts: What must be equal, such as a hash of the data, by what it is called.

    Raises:
        RecipeError: A process differs from the first one; every process raises it.
    """
    everywhere = gather_object([dict(facts)])
    for process, theirs in enumerate(everywhere):
        for what, expected in everywhere[0].items():
            if theirs[what] != expected:
                raise RecipeError(
                    f"{name}: process {process} has another {what} than process 0 "
                    f"({theirs[what][:12]} and {expected[:12]}); give every host the same "
                    "command, code and data."
                )


@contextmanager
def first_file(path: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Give every process the file of the first one, whose host may be the only one that has it.

    Every process calls this.

    Yields:
        The path itself in the first process, and in the others a copy that exists until the block
        ends. If the first process has no such file, the path that is given does not exist.
    """
    if accelerator.num_processes == 1:
        yield path
        return
    first = accelerator.is_main_process
    content = [path.read_bytes() if first and path.exists() else None]
    broadcast_object_list(content)
    if first:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
        copy = Path(folder, path.name)
        if content[0] is not None:
            copy.write_bytes(content[0])
        yield copy
