"""How to use several enrolled pictures of a person: `python -m benchmarks.face_enrolment`.

Of the people of a split, 0.6 are enrolled with some pictures each; all their other pictures and
those of the other people are looked for. Rank-1 is the share of pictures of enrolled people whose
nearest person is the right one. FNIR is the share of them that are not found, or as somebody else,
at the threshold at which 0.01 of the strangers are taken for somebody (FPIR; ISO/IEC 19795-1). FMR
and FNMR are those of comparisons with one person at the artifact's threshold for 0.001. All figures
are means over ten divisions of the people.
"""

from collections.abc import Callable

import click
import numpy as np

from artifacts import Artifact, Runtime
from artifacts.provenance import hardware
from artifacts.verification.decision import Verification
from artifacts.verification.pairs import Ints, Vectors
from serving.faces.person_distance import person_distance
from training.faces.thresholds import embed, load_people

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps queries (Q x D) and a person's pictures (K x D) to distances (Q)."""
FPIR = 0.01


@click.command()
@click.option("--datasets", default="faces/celeba:train,faces/celeba:test", show_default=True)
@click.option("--enrolled", default="1,2,3,5", show_default=True)
@click.option("--rounds", default=10, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(datasets: str, enrolled: str, rounds: int, seed: int) -> None:
    """Print the table."""
    artifact = Artifact.open("faces-dlib")
    verification = artifact.manifest.verification
    if verification is None:
        raise click.ClickException("faces-dlib has no thresholds.")
    print(f"{hardware()}; {rounds} divisions, seed {seed}\n")
    print("| people | enrolled | rule | rank-1 | FNIR at FPIR 0.01 | FMR | FNMR |\n|" + "---|" * 7)
    for name in datasets.split(","):
        images, people = load_people(name)
        runtime = Runtime.open(artifact, threads=1)
        vectors, found = embed(runtime, images, aligned=False, mirrored=verification.mirrored)
        for count in map(int, enrolled.split(",")):
            for rule, compare in rules(verification).items():
                random = np.random.default_rng(seed)
                rows = [
                    measure(vectors, people[found], count, compare, verification, random)
                    for _ in range(rounds)
                ]
                rank, fnir, fmr, fnmr = np.mean(rows, 0)
                print(
                    f"| {name} | {count} | {rule} | {rank:.3f} | {fnir:.3f} | {fmr:.5f} "
                    f"| {fnmr:.3f} |",
                    flush=True,
                )


def rules(verification: Verification) -> dict[str, Rule]:
    """Return the ways to compare a face with the pictures of a person."""
    alike = max(threshold.distance for threshold in verification.thresholds)

    def served(queries: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        found = _served(queries, pictures, alike)
        few = [person_distance(q, pictures, "euclidean", alike) for q in queries[:3]]
        np.testing.assert_allclose(found[:3], few, rtol=1e-3)
        return found

    return {
        "nearest picture": lambda queries, pictures: _away(queries, pictures).min(1),
        "mean of the two nearest": lambda q, p: np.sort(_away(q, p), 1)[:, :2].mean(1),
        "mean": lambda queries, pictures: _away(queries, pictures).mean(1),
        "centroid": lambda queries, p: _away(queries, p.mean(0, keepdims=True))[:, 0],
        "centroid and mean of those alike (served)": served,
    }


def _served(queries: np.ndarray, pictures: np.ndarray, alike: float) -> np.ndarray:
    """Return what `person_distance` does, for many queries at once."""
    away = _away(queries, pictures)  # (Q, K)
    nearest = away.argmin(1)
    used = _away(pictures, pictures) <= alike  # (K, K): by the nearest picture
    np.fill_diagonal(used, val=True)
    shares = used / used.sum(1, keepdims=True)
    centroids = (shares @ pictures).astype(np.float32)  # (K, D)
    to_centroid = _away(queries, centroids)[np.arange(len(queries)), nearest]
    found: np.ndarray = (to_centroid + (shares[nearest] * away).sum(1)) / 2
    return found


def measure(
    vectors: Vectors,
    people: Ints,
    count: int,
    compare: Rule,
    verification: Verification,
    random: np.random.Generator,
) -> tuple[float, float, float, float]:
    """Return rank-1, FNIR, FMR and FNMR of one division of the people."""
    limit = next(t.distance for t in verification.thresholds if t.target_fmr == 1e-3)  # noqa: PLR2004
    usable = [p for p in np.unique(people) if (people == p).sum() > count]
    order = random.permutation(usable)
    known, strangers = np.split(order, [round(0.6 * len(order))])
    enrolled = {p: random.permutation(np.flatnonzero(people == p))[:count] for p in known}
    gone = np.concatenate(list(enrolled.values()))
    of_known = np.setdiff1d(np.flatnonzero(np.isin(people, known)), gone)
    of_strangers = np.flatnonzero(np.isin(people, strangers))
    near, far = (
        np.stack([compare(vectors[places], vectors[enrolled[p]]) for p in known], 1)
        for places in (of_known, of_strangers)
    )  # (Q, people)
    own = people[of_known][:, None] == known[None]
    first = own[np.arange(len(near)), near.argmin(1)]
    nearest = np.sort(far.min(1))
    threshold = nearest[int(FPIR * len(nearest))]
    missed = 1 - (first & (near.min(1) < threshold)).mean()
    others = np.concatenate([near[~own], far.ravel()])
    return first.mean(), missed, (others <= limit).mean(), (near[own] > limit).mean()


def _away(queries: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    squares = (queries**2).sum(1)[:, None] + (pictures**2).sum(1)[None]
    away: np.ndarray = np.sqrt(np.maximum(squares - 2 * queries @ pictures.T, 0))
    return away


if __name__ == "__main__":
    main()
