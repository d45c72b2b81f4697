"""Writes all studies on one page: the reported and the rebuilt figure of each system."""

from pathlib import Path

from artifacts import Artifact
from artifacts.figure_style import describe
from artifacts.names import artifact_names
from training.comparison import read_comparison
from training.plots import png
from training.recipe import Recipe, load_recipe, load_recipes
from training.results_picture import Point, draw
from training.study import Row, compare

STUDIES = Path("docs/studies")
PICTURE = STUDIES / "reported-and-rebuilt.png"
"""Picture on the page, relative to it."""
COMMAND = "python -m training results"
INTRODUCTION = """# Results

This page lists every system of the source studies with the figure that was reported and the one
that this project measures through the served graph. `make results` writes it from the tables that
`python -m training study NAME --out docs/studies/NAME` wrote to `docs/studies/`. Systems that are
missing there are taken from committed artifacts. A row that was not run has the command that trains
it. FILE is a file of pre-trained weights, which `vitrine train weights` names; without `--weights`,
the command downloads it.
"""
COLUMNS = (
    "| system | reported | rebuilt | difference | pictures | seed | epochs | hardware | remark |"
)


def results(folder: Path = STUDIES) -> str:
    """Return the page as Markdown.

    Args:
        folder: Folder with a folder per study, which holds the comparison.csv or the
            verification.md that the command `study` writes.
    """
    recipes = load_recipes()
    parts = [INTRODUCTION, *_picture_line(points(folder))]
    for study in dict.fromkeys(recipe.study for recipe in recipes if recipe.study):
        own = [recipe for recipe in recipes if recipe.study == study]
        verification = folder / study / "verification.md"
        if verification.exists():  # a study of embeddings, which have no accuracy
            _, _, rest = verification.read_text(encoding="utf-8").partition("\n")
            missing = [recipe for recipe in own if f"| {recipe.artifact_name} |" not in rest]
            parts.append(f"## {study}\n{rest}")
            if missing:
                parts.append("\n".join([*_table_head(), *map(_not_run, missing), ""]))
        else:
            parts.append(_section(study, own, _rows(own, folder / study)))
    return "\n".join(parts)


def write_results(out: Path) -> list[Path]:
    """Write the page and its picture; the same figures give the same bytes.

    Args:
        out: File of the page. The picture is written to `PICTURE`, beside it.

    Returns:
        The paths of the files.
    """
    found = points()
    out.write_text(results(), encoding="utf-8")
    if not found:
        return [out]
    picture = out.parent / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(png(draw(found, COMMAND)))
    return [out, picture]


def points(folder: Path = STUDIES) -> list[Point]:
    """Return the systems that have a reported and a rebuilt accuracy; see `results`."""
    found = []
    studied = [recipe for recipe in load_recipes() if recipe.study]
    for study in dict.fromkeys(recipe.study for recipe in studied):
        own = [recipe for recipe in studied if recipe.study == study and not recipe.loss.embeds]
        rows = _rows(own, folder / str(study))
        for recipe in own:
            row = rows.get(recipe.artifact_name)
            if row and row.reported is not None and row.rebuilt is not None:
                counted = recipe.data.name, row.samples or 0
                found.append(Point(str(study), recipe.name, row.reported, row.rebuilt, *counted))
    return found


def _picture_line(found: list[Point]) -> list[str]:
    """Return the picture of the points with its description and caption, as Markdown."""
    if not found:
        return []
    alternative = describe(draw(found, COMMAND))
    return [
        f"![{alternative}]({PICTURE.as_posix()})\n\n"
        f"Each point is one of the {len(found)} systems with a reported and a rebuilt accuracy, "
        "measured on the pictures that the tables name. Most were trained for fewer epochs than\n"
        "in the study; the remarks in the tables say what differs. Systems that were not run, and "
        "those for which no accuracy was reported, are in the tables only.\n"
        f"`{COMMAND}` draws it.\n"
    ]


def _rows(recipes: list[Recipe], folder: Path) -> dict[str, Row]:
    """Return the rows of a study's systems: those of its comparison, else of artifacts."""
    names = artifact_names()
    records = [Artifact.open(r.name).manifest.recipe for r in recipes if r.name in names]
    available = [load_recipe(record.name, record.profile) for record in records if record]
    return {row.system: row for row in [*compare(available), *read_comparison(folder)]}


def _section(study: str, recipes: list[Recipe], rows: dict[str, Row]) -> str:
    profiles = sorted({row.profile for row in rows.values()})
    commands = [f"`python -m training study {study} --profile {profile}`" for profile in profiles]
    lines = [
        f"## {study}",
        "",
        ", ".join(commands) or "Not run yet.",
        "",
        *_table_head(),
    ]
    for recipe in recipes:
        row = rows.get(recipe.artifact_name)
        lines.append(_line(recipe, row) if row else _not_run(recipe))
    return "\n".join([*lines, ""])


def _table_head() -> list[str]:
    return [COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|"]


def _line(recipe: Recipe, row: Row) -> str:
    ours = "" if row.rebuilt is None else f"{row.rebuilt:.4f} ({row.reported_on})"
    difference = "" if row.difference is None else f"{row.difference:+.4f}"
    samples = f"{row.samples:,}" if row.samples else ""
    remark = "; ".join(filter(None, [row.changes, row.remark]))
    reported = "" if row.reported is None else f"{row.reported:.4f}"
    seed = "" if row.seed is None else str(row.seed)
    cells = [recipe.name, reported, ours, difference, samples, seed, str(row.epochs)]
    return "| " + " | ".join([*cells, row.hardware, remark]) + " |"


def _not_run(recipe: Recipe) -> str:
    """Return the row of a system without figures, which names the command that trains it.

    Why a recipe was not run is not recorded, so the page says only what running it takes.
    """
    figures = [v for key, v in recipe.reported.items() if key.startswith("accuracy/")]
    reported = f"{figures[-1]:.4f}" if figures else ""
    remark = "; ".join(filter(None, [f"run it: `{_command(recipe)}`", recipe.remark]))
    return f"| {recipe.name} | {reported} | not run | | | | | | {remark} |"


def _command(recipe: Recipe) -> str:
    """Return the command that trains a recipe; FILE holds weights that no package has."""
    command = f"vitrine train run {recipe.name}"
    if recipe.network.options.get("weights") == "imagenet":
        command += " --weights FILE"
    return command
