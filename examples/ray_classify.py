"""Classifies a folder of pictures on a Ray cluster; the rows are those of `vitrine classify`.

    python examples/ray_classify.py PICTURES OUT --model cifar10-fast

One actor for each GPU, or for each core where there is none, opens the model once and answers
batches of pictures; Ray Data hands them out, and repeats those of an actor that is lost. Every
machine has the folder of pictures at the same path, this project installed with the extra `ray`,
and the same artifacts. Without a cluster (`RAY_ADDRESS`), Ray starts on this machine.
"""

import os
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import ray
import ray.data

from artifacts import VitrineError, artifacts_root
from artifacts.commands import run_command
from serving.client import LocalPredictor
from serving.commands.batch import ask_batch, find_files
from serving.commands.class_rows import ClassRows
from serving.commands.table import schema

RETRIES = 3
"""Times that a batch is repeated if its actor is lost.

A batch that ends every process, as by taking more memory than there is, then ends the job instead
of being repeated for ever."""


class Classifier:
    """An actor: one model in one process.

    Args:
        root: folder of the artifacts.
        model: name of the classifier.
        digest: hash of the model that the job started with.
        top: number of classes wanted.

    Raises:
        VitrineError: this machine has another model of that name, or none.
    """

    def __init__(self, root: str, model: str, digest: str, top: int) -> None:
        predictor = LocalPredictor(Path(root), threads=1)
        info = predictor.model_info(model)
        if info.hash != digest:
            raise VitrineError(
                f"{model} in {root} is another model on {os.uname().nodename} than where the job "
                "was started; copy the artifact to every machine."
            )
        self._ask = ClassRows(predictor, info, top)
        self._schema = schema(self._ask.columns)

    def __call__(self, batch: dict[str, npt.NDArray[np.object_]]) -> pa.Table:
        """Return a row for each path in the column `path`."""
        return pa.Table.from_pylist(
            ask_batch([Path(path) for path in batch["path"]], self._ask), self._schema
        )


@click.command()
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", required=True, help="The classifier.")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), help="Actors; one per GPU or core.")
def main(pictures: Path, out: Path, model: str, top: int, batch: int, workers: int | None) -> None:
    """Classify all pictures below PICTURES, and write Parquet files to the new folder OUT.

    The columns are those of `vitrine classify`; the rows are in no particular order. The exit
    status is 1 if pictures were refused, as the column `problem` says.
    """
    if out.exists() and any(out.iterdir()):
        raise VitrineError(f"{out}: is not empty, and rows would be doubled; name a new folder.")
    files = [str(file.absolute()) for file in find_files([pictures])]
    root = artifacts_root().absolute()
    info = LocalPredictor(root).model_info(model)
    ray.init(logging_level="warning")
    gpus, cores = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
    rows = ray.data.from_items(
        [{"path": file} for file in files], override_num_blocks=-(-len(files) // batch)
    ).map_batches(
        Classifier,
        fn_constructor_args=(str(root), model, info.hash, top),
        batch_size=batch,
        compute=ray.data.ActorPoolStrategy(size=workers or gpus or cores),
        num_gpus=1 if gpus else 0,
        num_cpus=0 if gpus else 1,
        max_task_retries=RETRIES,
    )
    # writing gets no core of its own: the actors have them all
    rows.write_parquet(str(out.absolute()), ray_remote_args={"num_cpus": 0})
    problems = ds.dataset(out, format="parquet").to_table(["problem"])["problem"]
    if len(problems) != len(files):
        raise VitrineError(f"{out}: has {len(problems):,} rows of {len(files):,} pictures.")
    refused = pc.sum(pc.is_valid(problems)).as_py()
    click.echo(f"{out}: {len(files):,} pictures, {refused:,} refused")
    if refused:
        raise click.ClickException(f"{refused} pictures were refused; column `problem` says why.")


if __name__ == "__main__":
    run_command(main, "examples/ray_classify.py")
