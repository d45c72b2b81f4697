"""All studies on one page: what each system was reported to reach, and what it reaches here."""

import csv
from dataclasses import asdict
from pathlib import Path

from artifacts import Artifact
from artifacts.artifact import artifact_names
from training.recipe import Recipe, load_recipe, recipe_names
from training.study import compare

STUDIES = Path("docs/studies")
HEAD = """# Results

Every system of the source studies: the figure that was printed, and the one that this project
measures through the served graph. `make results` writes this page from the tables that
`python -m training study NAME --out docs/studies/NAME` left under `docs/studies/`, and from
committed artifacts of studies that did not run whole.
"""
COLUMNS = "| system | reported | rebuilt | difference | pictures | seed | epochs | hardware | why |"


def results(folder: Path = STUDIES) -> str:
    """The page, as Markdown.

    Args:
        folder: holds a folder per study with the comparison.csv that `study` writes, or the
            verification.md.
    """
    recipes = [load_recipe(name) for name in recipe_names()]
    parts = [HEAD]
    for study in dict.fromkeys(recipe.study for recipe in recipes if recipe.study):
        own = [recipe for recipe in recipes if recipe.study == study]
        told = folder / study / "verification.md"
        if told.exists():  # of embeddings, which have no accuracy
            _, _, rest = told.read_text(encoding="utf-8").partition("\n")
            missing = [recipe for recipe in own if f"| {recipe.artifact_name} |" not in rest]
            parts.append(f"## {study}\n{rest}")
            if missing:
                parts.append("\n".join([*_head(), *map(_not_run, missing), ""]))
        else:
            rows = _trained(own) | _rows(folder / study / "comparison.csv")
            parts.append(_section(study, own, rows))
    return "\n".join(parts)


def _rows(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a comparison by system; none where the study did not run."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["system"]: row for row in csv.DictReader(file)}


def _trained(recipes: list[Recipe]) -> dict[str, dict[str, str]]:
    """The same of artifacts that are there."""
    names = artifact_names()
    records = [Artifact.open(r.name).manifest.recipe for r in recipes if r.name in names]
    there = [load_recipe(record.name, record.profile) for record in records if record]
    return {
        row.system: {key: "" if value is None else str(value) for key, value in asdict(row).items()}
        for row in compare(there)
    }


def _section(study: str, recipes: list[Recipe], rows: dict[str, dict[str, str]]) -> str:
    profiles = sorted({row["profile"] for row in rows.values()})
    commands = [f"`python -m training study {study} --profile {profile}`" for profile in profiles]
    lines = [
        f"## {study}",
        "",
        ", ".join(commands) or "Not run yet.",
        "",
        *_head(),
    ]
    for recipe in recipes:
        row = rows.get(recipe.artifact_name)
        lines.append(_line(recipe, row) if row else _not_run(recipe))
    return "\n".join([*lines, ""])


def _head() -> list[str]:
    return [COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|"]


def _line(recipe: Recipe, row: dict[str, str]) -> str:
    split = row["reported_on"]
    ours = row[split] and f"{float(row[split]):.4f} ({split})"
    difference = row["difference"] and f"{float(row['difference']):+.4f}"
    samples = row["samples"] and f"{int(row['samples']):,}"
    why = "; ".join(filter(None, [row["changes"], row["remark"]]))
    said = row["reported"] and f"{float(row['reported']):.4f}"
    cells = [recipe.name, said, ours, difference, samples, row["seed"], row["epochs"]]
    return "| " + " | ".join([*cells, row["hardware"], why]) + " |"


def _not_run(recipe: Recipe) -> str:
    reported = [v for key, v in recipe.reported.items() if key.startswith("accuracy/")]
    said = f"{reported[-1]:.4f}" if reported else ""
    weights = recipe.network.options.get("weights")
    why = "its ImageNet weights come from a hub that was out of reach; " * (weights == "imagenet")
    return f"| {recipe.name} | {said} | not run | | | | | | {why}{recipe.remark} |"
