"""What feedback costs: the ids of answers, and giving feedback.

    python -m benchmarks.feedback

Servers with feedback off, with labels and with pictures are up and are asked in turns, so that a
machine whose speed changes does not favour one of them. A ratio is the throughput with feedback
divided by that without, as the median over the rounds. The CPU time of an id is measured in this
process, where nothing else is. Feedback is given one at a time, with an SQLite database on disk.
"""

import json
import signal
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory

import click

from artifacts import Artifact
from artifacts.commands import run_command
from artifacts.provenance import hardware
from benchmarks.cells import LOADS
from benchmarks.load import drive
from benchmarks.pictures import CheckedRequests, Pictures, make_pictures
from benchmarks.servers import vitrine
from benchmarks.turns import in_turns
from serving.client import Client
from serving.feedback.answer_ids import picture_digest
from serving.feedback.feedback import Feedback
from serving.inference import results
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.pictures.decode import read_prepared

MODES = ("off", "labels", "pictures")
REPEATS = 2000
"""Number of answers that are made for one measurement of CPU time."""
GIVEN = 200
"""Number of times that feedback is given."""


@click.command()
@click.option("--models", default="cars-lite0-finetuned,ladder-b", show_default=True)
@click.option("--loads", default="1,8,32,many", show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Duration of one measurement.")
@click.option("--rounds", default=5, show_default=True, help="The median of these is shown.")
def main(models: str, loads: str, seconds: float, rounds: int) -> None:
    """Print three tables for each model."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    click.echo(f"{hardware()}; median of {rounds} rounds of {seconds:g} s\n")
    for name in models.split(","):
        artifact = Artifact.open(name)
        pictures = make_pictures(artifact, None, mixed=False)
        click.echo(f"`{name}`, pictures of {len(pictures.contents[0]):,} bytes:\n")
        click.echo(_cpu_table(artifact, pictures))
        with ExitStack() as stack:
            ports = [
                stack.enter_context(vitrine([artifact], settings={"VITRINE_FEEDBACK": mode})).port
                for mode in MODES
            ]
            click.echo(_throughput(artifact, pictures, ports, loads.split(","), seconds, rounds))
            click.echo(_giving(name, pictures, ports))


def _cpu_table(artifact: Artifact, pictures: Pictures) -> str:
    """Measure what is done for an answer to one picture, from the logits to the JSON."""
    model = ServedModel(artifact, threads=1)
    content = pictures.contents[0]
    prepared = read_prepared([content], model.manifest.input)
    shown = [picture.picture for picture in prepared]
    outputs = model.runtime.run(shown, results.classify_outputs(model), prepared=True)
    with TemporaryDirectory() as folder:
        feedback = Feedback(f"{folder}/feedback.sqlite3", "pictures", 90)
        feedback.prepare(Models({model.name: model}, {}))

        def answers(mode: str) -> None:
            for _ in range(REPEATS):
                answer = results.classification(model, prepared, outputs, 5)
                if mode != "off":
                    digests = [picture_digest(content)] if mode == "pictures" else []
                    answer = feedback.with_ids(answer, model, digests)
                answer.model_dump_json(by_alias=True)

        ways = {mode: lambda mode=mode: answers(mode) for mode in MODES}
        spent = in_turns(ways, 5)
    cells = " | ".join(f"{1e6 * spent[mode] / REPEATS:.1f}" for mode in MODES)
    return (
        "| CPU time of an answer, from its logits to its JSON | off | labels | pictures |\n"
        f"| --- | --- | --- | --- |\n| microseconds | {cells} |\n"
    )


def _throughput(
    artifact: Artifact,
    pictures: Pictures,
    ports: Sequence[int],
    loads: Sequence[str],
    seconds: float,
    rounds: int,
) -> str:
    path = f"/v1/models/{artifact.manifest.name}/classify"
    lines = [
        "| connections | off, pictures/s | labels | pictures | errors |",
        "| --- | --- | --- | --- | --- |",
    ]
    for load in loads:
        kind = LOADS[load]
        checked = CheckedRequests(artifact, pictures, path, kind.each, vitrine=True)
        rates: list[list[float]] = []
        errors = 0
        for number in range(rounds):
            order = list(range(len(MODES)))[:: 1 if number % 2 else -1]
            row = [0.0] * len(MODES)
            for place in order:
                found = drive(
                    ports[place],
                    checked.requests,
                    kind.connections,
                    warm_up=0.25 * seconds,
                    seconds=seconds,
                    check=checked.is_right,
                )
                row[place] = found.requests * kind.each / found.seconds
                errors += found.errors
            click.echo(json.dumps({"load": load, "rates": row}), err=True)
            rates.append(row)
        off = statistics.median(row[0] for row in rates)
        ratios = [statistics.median(row[i] / row[0] for row in rates) for i in (1, 2)]
        cells = " | ".join(f"{ratio:.3f}" for ratio in ratios)
        lines.append(f"| {kind.title} | {off:,.0f} | {cells} | {errors} |")
    return "\n".join(lines) + "\n"


def _giving(name: str, pictures: Pictures, ports: Sequence[int]) -> str:
    """Measure how long it takes to give feedback, which is on disk when it is answered."""
    lines = ["| feedback, p50 / p99 ms | |", "| --- | --- |"]
    content = pictures.contents[0]
    for mode, port in zip(MODES[1:], ports[1:], strict=True):
        with Client(f"http://127.0.0.1:{port}") as client:
            answers = client.classify(name, [content] * GIVEN).pictures
            spent = []
            for answer in answers:
                begin = time.perf_counter()
                kept = content if mode == "pictures" else None
                client.give_feedback(str(answer.id), verdict="right", picture=kept)
                spent.append(1e3 * (time.perf_counter() - begin))
        cuts = statistics.quantiles(spent, n=100)
        lines.append(f"| {mode} | {cuts[49]:.1f} / {cuts[98]:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.feedback")
