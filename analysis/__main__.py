"""`python -m analysis`: analyses served models."""

import click

from analysis import (
    atlas,
    calibration,
    compare,
    confusion,
    corruptions,
    data,
    distances,
    drift,
    feature_maps,
    labels,
    neighbours,
    report,
    sparsity,
    transfer,
)
from analysis.tsne_map import command as feature_map
from artifacts.commands import run_command


@click.group(context_settings={"max_content_width": 100})
def main() -> None:
    """Analyse served models. Each analysis writes a report as PNG, CSV and JSON.

    The pictures come from --images or --dataset. The answers come from a running server (--url) or
    from the artifact, which is opened in this process; the numbers are the same.

    \b
    python -m analysis sparsity --model cifar10-gap --dataset cifar10:test --limit 1000
    python -m analysis map --model cifar10-gap --images my/pictures --url http://127.0.0.1:3000
    """  # noqa: D301  \b tells click to keep the line breaks of a paragraph


for command in (
    sparsity.command,
    transfer.command,
    feature_map.command,
    confusion.command,
    calibration.command,
    corruptions.sizes_command,
    corruptions.robustness_command,
    distances.command,
    neighbours.command,
    compare.command,
    drift.command,
    feature_maps.command,
    labels.command,
    data.command,
    atlas.command,
    report.command,
):
    main.add_command(command)


if __name__ == "__main__":
    run_command(main, "python -m analysis")
