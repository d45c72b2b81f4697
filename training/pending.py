"""`vitrine train publish`: publishes a run that is trained and whose artifact is missing."""

import json
import re
from pathlib import Path

from artifacts import Artifact, VitrineError, artifact_names
from artifacts.distribution import artifacts_root, check_writable
from artifacts.manifest import NAME_PATTERN
from training.data import load_splits
from training.finished import Kept
from training.pictures.plan import PLAN_FILE
from training.pictures.steps import publish_kept
from training.recipe_file import nearest
from training.run import exclusive, saying_how_to_continue, write_artifact
from training.run_state import CHECKPOINT, FINISHED, RUNS


def publish_run(name: str) -> Artifact | None:
    """Export, calibrate and measure a finished run, and write its artifact, without training.

    Args:
        name: Name of the run, which is that of its folder under `runs` and of its artifact.

    Returns:
        The artifact; None for a run of `vitrine train PICTURES`, whose figures are printed.

    Raises:
        VitrineError: There is no such run, it is not finished, it is published already, or
            publishing it fails again.
    """
    folder = RUNS / name
    if not re.fullmatch(NAME_PATTERN, name) or not (folder / FINISHED).exists():
        raise VitrineError(_reason(name, folder))
    check_writable(artifacts_root())
    with exclusive(folder, name), saying_how_to_continue(folder, name):
        kept = Kept.read(folder)
        if kept.own is not None:
            publish_kept(kept)
            return None
        splits = load_splits(kept.recipe.data, kept.recipe.seed)
        return write_artifact(folder, kept.restore(splits), splits)


def _reason(name: str, folder: Path) -> str:
    """Say why there is nothing to publish."""
    waiting = sorted(path.parent.name for path in RUNS.glob(f"*/{FINISHED}"))
    if re.fullmatch(NAME_PATTERN, name):
        if any(folder.rglob(CHECKPOINT)) or _is_unfinished(folder / PLAN_FILE):
            return (
                f"{name} is not finished; the command that started it, given again, continues "
                "from its checkpoint and publishes it."
            )
        if name in artifact_names():
            return f"{name} is published already: {artifacts_root() / name}; nothing is left to do."
    missing = f"there is no run {name!r} that is trained and not published"
    if not waiting:
        return (
            f"{missing}, nor any other in {RUNS.resolve()}; run the command where it was trained."
        )
    return f"{missing}; {nearest(name, waiting)}use one of: {', '.join(waiting)}."


def _is_unfinished(plan: Path) -> bool:
    """Whether a run on own pictures has begun and is not finished."""
    try:
        return json.loads(plan.read_text(encoding="utf-8"))["tested"] is None
    except (OSError, ValueError, KeyError, TypeError):
        return False
