"""Figures on how well embeddings separate people: error rates, distances, neighbours."""

from collections.abc import Sequence

import numpy as np

from artifacts.figure_style import COLOURS, HATCHES, LINES, SMALL, SOFT, add_legend
from artifacts.pictures import Picture
from artifacts.verification.curves import Curve
from artifacts.verification.pairs import Ints, Measured, Vectors
from training.plots import new_figure, png

SAME, DIFFERENT = COLOURS[:2]
QUERIES, NEIGHBOURS = 5, 10
MIN_RATE = 1e-4
"""Lower end of the axes of false-match rates."""


def det(curves: Sequence[tuple[str, str, Curve]], origin: str) -> bytes:
    """Plot detection error trade-off curves, with a panel per collection; returns a PNG.

    The axes are the false-match and false-non-match rates, both logarithmic.

    Args:
        curves: Name of the system, name of the collection, and the rates.
        origin: Command, pictures and seed, written below.
    """
    sources = list(dict.fromkeys(source for _, source, _ in curves))
    title = "Detection error trade-off of all pairs of pictures"
    figure = new_figure(title, origin, width=1 + 4.6 * len(sources), height=6)
    panels = figure.subplots(1, len(sources), squeeze=False, sharey=True)[0]
    names = list(dict.fromkeys(name for name, _, _ in curves))
    for axes, panel in zip(panels, sources, strict=True):
        for name, source, rates in curves:
            if source == panel:
                place = names.index(name)
                look = {"color": COLOURS[place % 10], "linestyle": LINES[place % len(LINES)]}
                axes.plot(rates.fmr, rates.fnmr, label=name, **look)
        axes.plot([MIN_RATE, 1], [MIN_RATE, 1], color=SOFT, linestyle=":", label="equal rates")
        axes.set(xscale="log", yscale="log", xlim=(MIN_RATE, 1), ylim=(1e-3, 1))
        axes.set(xlabel="false-match rate", title=panel)
        axes.grid()
    panels[0].set_ylabel("false-non-match rate")
    add_legend(figure, panels[0])
    return png(figure)


def distance_plots(systems: Sequence[tuple[str, Measured]], origin: str) -> bytes:
    """Plot distances of same-person and different-person pairs per system; returns a PNG.

    Each system has a box plot and a histogram.
    """
    title = "Distances of pairs of pictures of the same person and of different people"
    figure = new_figure(title, origin, width=9, height=0.5 + 2.3 * len(systems))
    grid = figure.subplots(len(systems), 2, squeeze=False, width_ratios=(1, 2))
    for (box, histogram), (name, measured) in zip(grid, systems, strict=True):
        kinds = [measured.distances[measured.same], measured.distances[~measured.same]]
        drawn = box.boxplot(kinds, tick_labels=["same", "different"], showfliers=False)
        for line in drawn["medians"]:
            line.set_color("black")
        box.set(ylabel="distance")
        edges = np.linspace(0, max(float(measured.distances.max()), 1e-9), 61).tolist()
        for place, label in enumerate(("same person", "different people")):
            look = {"color": COLOURS[place], "hatch": HATCHES[place], "edgecolor": "white"}
            histogram.hist(kinds[place], edges, density=True, alpha=0.6, label=label, **look)
        histogram.set(ylabel="density", title=f"{name}, {measured.source}")
    grid[-1][0].set_xlabel("pairs of people")
    grid[-1][1].set_xlabel("distance")
    add_legend(figure, grid[0][1])
    return png(figure)


def nearest_pictures(
    vectors: Vectors,
    chips: Sequence[Picture] | Picture,
    people: Ints,
    name: str,
    origin: str,
    seed: int = 0,
) -> bytes:
    """Show the ten nearest neighbours of five random pictures; returns a PNG.

    The colour of a frame tells whether a neighbour shows the same person.

    Args:
        vectors: Embeddings N x D.
        chips: N pictures, uint8 H x W x 3.
        people: Number of the person on each of the N pictures.
        name: Name of the system.
        origin: Command, pictures and seed, written below.
        seed: Seed of the draw.
    """
    queries = np.random.default_rng(seed).permutation(len(vectors))[:QUERIES]
    title = f"{name}: nearest pictures and their distances (blue: the same person, red: another)"
    figure = new_figure(title, origin, width=12, height=1.4 * len(queries))
    grid = figure.subplots(len(queries), NEIGHBOURS + 1, squeeze=False)
    for line, place in zip(grid, queries, strict=True):
        distances = np.linalg.norm(vectors - vectors[place], axis=1)
        distances[place] = -1.0  # the query comes first even if others have distance 0
        for axes, other in zip(line, distances.argsort(kind="stable"), strict=False):
            axes.imshow(chips[other])
            axes.set(xticks=[], yticks=[])
            same = people[other] == people[place]
            colour = "black" if other == place else SAME if same else DIFFERENT
            axes.spines[:].set(color=colour, linewidth=3)
            axes.set_title("" if other == place else f"{distances[other]:.2f}", fontsize=SMALL)
    return png(figure)
