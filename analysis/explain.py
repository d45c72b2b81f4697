"""Whether explanations mean anything: the deletion and insertion tests of a model's maps.

The method is that of RISE (Petsiuk et al. 2018, arXiv 1806.07421). If a map shows what an answer
rests on, then the probability of the class falls fast when the pixels that it ranks first are
deleted, and rises fast when they are inserted into a blurred picture. The same is done in two other
orders, which must do worse: that of a random map, and that of the map of another picture, which
knows where objects usually lie, but not this picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image, ImageFilter

from analysis.answers import Floats, Ints
from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import VitrineError
from artifacts.contributions import enlarge
from artifacts.figure_style import add_legend, line_style
from artifacts.pictures import Picture
from artifacts.progress import track
from artifacts.provenance import hardware
from serving.client.chunks import Source, picture_index_from
from serving.client.predictor import Predictor
from serving.schemas import Explanation, ModelInfo

STEPS = 20
"""Number of equal parts in which the pixels are deleted or inserted."""
PICTURES = 200
TESTS = ("deletion", "insertion")
ORDERS = {
    "map": "the map",
    "random": "a random map",
    "other": "the map of another picture",
}
"""In which the pixels are taken; the first is the one that is tested."""
BLUR = 1 / 8
"""Standard deviation of the blur from which insertion starts, in shorter sides of the picture."""
RESAMPLES = 2000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Difference:
    """Area under the curves of the map minus that of another order, over pictures."""

    test: str
    order: str
    mean: float
    low: float
    high: float
    """Ends of the interval that holds the mean with 95 % confidence."""

    @property
    def better(self) -> bool:
        """Whether the map does better beyond chance."""
        return self.high < 0 if self.test == "deletion" else self.low > 0


def explain(
    predictor: Predictor, info: ModelInfo, pictures: Pictures
) -> tuple[list[int], list[Explanation]]:
    """Ask for the explanation of the most probable class of every picture.

    Returns:
        Indices of the readable pictures, and the explanations of these.

    Raises:
        VitrineError: the model gives no classes; or the server does not answer.
        DataError: no picture can be read.
    """

    def question(images: list[Source]) -> list[Explanation]:
        answers = []
        for number, image in enumerate(images):
            with picture_index_from(number, 1):
                answers.append(predictor.explain(info.name, image))
        return answers

    indices: list[int] = []
    found: list[Explanation] = []
    for places, answers in pictures.ask(f"explanations by {info.name}", question):
        indices += places
        found += answers
    return indices, found


def rank(grid: Floats, explanation: Explanation, picture: Picture) -> Ints:
    """Return the pixels of a picture, from the one that speaks most for the class.

    Args:
        grid: contributions, as a map of this or of another picture holds them.
        explanation: of this picture; it says what the grid covers.
        picture: H x W x 3.

    Returns:
        H * W indices of pixels, counted row by row; those that the network did not see come last.
    """
    height, width = picture.shape[:2]
    values = enlarge(grid, explanation.frame.corners, width, height)
    order: Ints = np.argsort(-np.nan_to_num(values, nan=-np.inf).ravel(), kind="stable")
    return order


def steps(picture: Picture, order: Ints, test: str) -> list[Picture]:
    """Return the `STEPS` + 1 pictures of a test, from the unchanged start on.

    Deletion replaces pixels by the mean colour of the picture; insertion starts from the blurred
    picture.
    """
    if test == "deletion":
        start = picture
        end = np.broadcast_to(np.rint(picture.mean(axis=(0, 1))).astype(np.uint8), picture.shape)
    else:
        radius = BLUR * min(picture.shape[:2])
        start = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))
        end = picture
    changed = []
    for number in range(STEPS + 1):
        pixels = start.reshape(-1, 3).copy()
        taken = order[: round(number / STEPS * len(order))]
        pixels[taken] = end.reshape(-1, 3)[taken]
        changed.append(pixels.reshape(picture.shape))
    return changed


def measure(
    predictor: Predictor,
    info: ModelInfo,
    pictures: Pictures,
    indices: Sequence[int],
    explanations: Sequence[Explanation],
    seed: int,
) -> Floats:
    """Return the probability of the explained class at every step.

    Returns:
        N x 2 tests x 3 orders x (STEPS + 1).
    """
    random = np.random.default_rng(seed)
    curves = np.empty((len(indices), len(TESTS), len(ORDERS), STEPS + 1))
    for place in track(range(len(indices)), f"curves of {info.name}"):
        picture, explanation = pictures.pixels(indices[place]), explanations[place]
        grid = explanation.grid
        grids = (grid, random.random(grid.shape), explanations[place - 1].grid)
        orders = [rank(each, explanation, picture) for each in grids]
        changed = [
            view for test in TESTS for order in orders for view in steps(picture, order, test)
        ]
        answers = predictor.classify(info.name, changed, top=len(info.classes))
        probabilities = [
            next(guess.probability for guess in answer.top if guess.label == explanation.label)
            for answer in answers.pictures
        ]
        curves[place] = np.reshape(probabilities, curves.shape[1:])
    return curves


def areas(curves: Floats) -> Floats:
    """Return the area under each curve over the share of pixels, 0 to 1: N x 2 tests x 3 orders."""
    inner = (curves[..., 1:] + curves[..., :-1]) / 2
    means: Floats = inner.mean(axis=-1)
    return means


def compare(found: Floats, seed: int) -> list[Difference]:
    """Compare the areas of the map with those of the other orders, paired by picture.

    The intervals come from a bootstrap over pictures (percentiles of `RESAMPLES` resamples).
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(found), (RESAMPLES, len(found)))
    differences = []
    for row, test in enumerate(TESTS):
        for column, order in enumerate(list(ORDERS)[1:], start=1):
            values: npt.NDArray[np.float64] = found[:, row, 0] - found[:, row, column]
            low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
            mean = float(values.mean())
            differences.append(Difference(test, order, mean, float(low), float(high)))
    return differences


def judge(name: str, differences: Sequence[Difference]) -> str:
    """Say in a sentence whether the maps mean anything for a model."""
    failed = [f"{d.test} against {ORDERS[d.order]}" for d in differences if not d.better]
    if not failed:
        return (
            f"The maps of {name} mean something: the probability falls faster when the pixels that "
            "they rank first are deleted, and rises faster when they are inserted, than in the "
            "order of a random map or of the map of another picture."
        )
    if len(failed) == len(differences):
        return f"The maps of {name} mean nothing: no test tells them from the other orders."
    return f"The maps of {name} mean something in part only; they do not pass {', '.join(failed)}."


def findings(name: str, found: Floats, differences: Sequence[Difference]) -> list[str]:
    """Return the sentence of `judge`, and a sentence with the numbers of each test."""
    sentences = [judge(name, differences)]
    for row, test in enumerate(TESTS):
        mean = ", ".join(
            f"{found[:, row, column].mean():.4f} in the order of {words}"
            for column, words in enumerate(ORDERS.values())
        )
        apart = "; ".join(
            f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f}) to {ORDERS[d.order]}"
            for d in differences
            if d.test == test
        )
        wanted = "lower" if test == "deletion" else "higher"
        sentences.append(f"{test}: area {mean} ({wanted} is better); differences {apart}.")
    return sentences


def draw(curves: Floats, heading: str, footer: str) -> Figure:
    """Draw the mean probability over the share of pixels, with a panel for each test."""
    figure = new_figure(heading, footer, width=9, height=4.5)
    shares = np.linspace(0, 100, STEPS + 1)
    panels = figure.subplots(1, len(TESTS), sharey=True)
    for row, (axes, test) in enumerate(zip(panels, TESTS, strict=True)):
        for column, words in enumerate(ORDERS.values()):
            line = curves[:, row, column].mean(axis=0)
            axes.plot(shares, line, **line_style(column), label=words)
        verb = "deleted" if test == "deletion" else "inserted"
        axes.set(title=test, xlabel=f"pixels {verb} (%)", ylim=(0, 1))
    panels[0].set_ylabel("mean probability of the explained class")
    add_legend(figure, panels[0], title="order of")
    return figure


@click.command("explain")
@model_option
@common_options
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of random maps and bootstrap."
)
def command(model: str, options: CommonOptions, seed: int) -> None:
    """Test whether the model's explanations mean anything, by deletion and insertion.

    Uses 200 pictures unless --limit is given. Each is explained for its most probable class, and
    classified 126 times with some of its pixels deleted or inserted.

    Writes explain.png (the curves), curves.csv (their points), areas.csv (a row per picture, test
    and order), differences.csv and explain.json.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures(limit=PICTURES)
    indices, explanations = explain(predictor, info, pictures)
    if len(indices) < 2:  # noqa: PLR2004
        raise VitrineError("one picture has no other one to compare with; give at least two.")
    curves = measure(predictor, info, pictures, indices, explanations, seed)
    report_skipped(pictures)
    found = areas(curves)
    differences = compare(found, seed)
    heading = title(f"Explanations ({explanations[0].method})", [info], pictures)
    write_report(
        options.folder("explain", (model,)),
        "explain",
        {
            "curves": [
                {
                    "test": test,
                    "order": order,
                    "share": step / STEPS,
                    "probability": float(curves[:, row, column, step].mean()),
                }
                for row, test in enumerate(TESTS)
                for column, order in enumerate(ORDERS)
                for step in range(STEPS + 1)
            ],
            "areas": [
                {
                    "picture": pictures.names[index],
                    "class": explanation.label,
                    "test": test,
                    "order": order,
                    "area": float(found[place, row, column]),
                }
                for place, (index, explanation) in enumerate(
                    zip(indices, explanations, strict=True)
                )
                for row, test in enumerate(TESTS)
                for column, order in enumerate(ORDERS)
            ],
            "differences": [{**vars(d), "better": d.better} for d in differences],
        },
        {"explain": draw(curves, heading, this_command())},
        record(
            [info],
            pictures,
            {
                "seed": seed,
                "steps": STEPS,
                "resamples": RESAMPLES,
                "method": explanations[0].method,
                "hardware": hardware(),
            },
        ),
        findings(info.name, found, differences),
    )
