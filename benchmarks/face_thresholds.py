"""Whether thresholds hold for people of another source: `python -m benchmarks.face_thresholds`.

Thresholds are chosen on each source alone and on both together, each counting by its number of
people, and measured on the other source and on held-out people.
"""

from collections.abc import Sequence

import click

from artifacts import Artifact
from artifacts.provenance import hardware
from artifacts.verification.error_rates import choose, rates
from artifacts.verification.pairs import Measured, pooled
from training.faces.thresholds import measure_people

TARGETS = (1e-3, 1e-2)


@click.command()
@click.option("--per-person", default=8, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(per_person: int, seed: int) -> None:
    """Print the table."""
    artifact = Artifact.open("faces-dlib")
    celeba, held_out, orl = (
        measure_people(artifact, name, per_person, seed, aligned=False)
        for name in ("faces/celeba:train", "faces/celeba:test", "faces/orl:all")
    )
    print(f"{hardware()}; up to {per_person} pictures of each person, seed {seed}\n")
    print("| chosen on | target FMR | FMR there | measured on | FMR | FNMR |\n|" + "---|" * 6)
    for sources, others in (
        ([celeba], [orl, held_out]),
        ([orl], [celeba, held_out]),
        ([celeba, orl], [celeba, orl, held_out]),
    ):
        print_rows(sources, others, seed)


def print_rows(sources: Sequence[Measured], others: Sequence[Measured], seed: int) -> None:
    """Print a row for each target and set of people."""
    together = pooled(sources)
    for threshold in choose(together, TARGETS, seed):
        stated = cell(threshold.fmr, threshold.fmr_interval)
        for other in others:
            fmr, fnmr = rates(other, threshold.distance, seed)
            cells = [together.source, f"{threshold.target_fmr:g}", stated, other.source]
            print(f"| {' | '.join([*cells, cell(*fmr), cell(*fnmr)])} |", flush=True)


def cell(value: float, interval: tuple[float, float]) -> str:
    """Return a rate with its 95 % interval."""
    return f"{value:.2g} ({interval[0]:.2g} to {interval[1]:.2g})"


if __name__ == "__main__":
    main()
