"""What the page shows of each run: whether it goes on, and if not, what can be done."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from artifacts import Artifact, ArtifactError
from artifacts.names import artifact_names
from artifacts.progress import duration
from training.history import Epoch, read_history
from training.run_state import CHECKPOINT, FINISHED, RunState, latest, states


@dataclass(frozen=True)
class Run:
    """A run and how it stands."""

    state: RunState
    kind: str
    """running, being measured, stopped or ended."""
    note: str
    """What else is to be said of that."""

    @property
    def last(self) -> Epoch | None:
        """The last epoch that is complete."""
        return self.state.history[-1] if self.state.history else None

    @property
    def announcement(self) -> str:
        """What is worth an interruption of somebody who listens: it changes once an epoch."""
        words = f"{self.state.name}: {self.kind}, {len(self.state.history)} epochs"
        if self.last is None:
            return words
        return f"{words}, validation {self.state.score} {self.last.validation_accuracy:.4f}"

    @property
    def figures(self) -> list[tuple[str, str, str]]:
        """Names and values of the run's figures, each with a remark."""
        state, last = self.state, self.last
        shown = [("Epochs", f"{len(state.history)} of {state.epochs}", "")]
        if self.kind == "running":
            left = "unknown" if state.left is None else f"about {duration(state.left)}"
            shown.append(("Time left", left, "until the last epoch ends"))
        if last is None:
            return shown
        seconds = last.train_seconds + last.validation_seconds
        return [
            *shown,
            (
                f"Validation {state.score}",
                f"{last.validation_accuracy:.4f}",
                self._best("validation_accuracy", max),
            ),
            (
                "Validation loss",
                f"{last.validation_loss:.4f}",
                self._best("validation_loss", min),
            ),
            ("Learning rate", f"{last.rate:.3g}", f"at the end of epoch {last.epoch}"),
            ("Time of an epoch", _short(seconds), "the last one, with validation"),
        ]

    def _best(self, field: str, best: Callable[..., Epoch]) -> str:
        row = best(self.state.history, key=lambda epoch: getattr(epoch, field))
        return f"best {getattr(row, field):.4f} in epoch {row.epoch}"


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004


class Runs:
    """The runs below a folder, including those that ended since the first look.

    Args:
        base: the folder.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._seen: dict[str, Run] = {}

    def look(self) -> list[Run]:
        """Return the runs that go on, then those that stopped, and then those that ended.

        Of runs of one name, such as those of a search, it is the first of these.
        """
        found = states(self._base)
        going = [state for state in latest(found).values() if state.alive]
        stopped = {
            folder: state
            for folder, state in found.items()
            if not state.alive and (state.fraction < 1 or (folder / FINISHED).exists())
        }
        shown = {state.name: _going(state) for state in sorted(going, key=lambda each: each.name)}
        for folder, state in _newest_first(stopped):
            shown.setdefault(state.name, _stopped(folder, state))
        for name in self._seen.keys() & set(artifact_names()) - shown.keys():
            self._seen[name] = shown[name] = _ended(self._seen[name])
        self._seen |= {state.name: shown[state.name] for state in going}
        return [*shown.values()]


def _newest_first(found: dict[Path, RunState]) -> list[tuple[Path, RunState]]:
    return sorted(found.items(), key=lambda item: item[1].updated, reverse=True)


def _going(state: RunState) -> Run:
    if state.fraction >= 1:
        return Run(state, "being measured", "It is trained, and will then be published.")
    return Run(state, "running", f"On {state.host}.")


def _stopped(folder: Path, state: RunState) -> Run:
    when = datetime.fromtimestamp(state.updated).astimezone()
    if (folder / FINISHED).exists():
        how = f"It is trained: vitrine train publish {state.name} measures and publishes it."
    elif (folder / CHECKPOINT).exists():
        how = "The command that started it continues from its checkpoint."
    else:
        how = "It has no checkpoint."
    return Run(state, "stopped", f"No news since {when:%Y-%m-%d %H:%M:%S}. {how}")


def _ended(run: Run) -> Run:
    """Return a run whose artifact is written, with all its epochs."""
    if run.kind == "ended":
        return run
    try:
        rows = read_history(Artifact.open(run.state.name))
    except ArtifactError as error:
        return Run(run.state, "ended", f"Its artifact cannot be read: {error}")
    history = [
        Epoch(int(row.pop("epoch")), **{k: float(v) for k, v in row.items()}) for row in rows
    ]
    return Run(replace(run.state, history=history), "ended", "Its artifact is written.")
