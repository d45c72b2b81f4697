"""`vitrine feedback show|export|erase`: what was said about answers, from the database itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from artifacts import VitrineError
from artifacts.commands import json_option, print_json
from serving.database.engines import parse_url
from serving.feedback.answer_ids import read_id
from serving.feedback.export import TABLE
from serving.feedback.export import export as write_export
from serving.feedback.feedback import KEY
from serving.feedback.store import FeedbackStore
from serving.settings import read_settings


@click.group()
def feedback() -> None:
    """Show, export and erase the feedback in the database that VITRINE_DATABASE names."""


@feedback.command()
@json_option
def show(as_json: bool) -> None:
    """Show accuracy and calibration of each version of each model, by its feedback.

    All figures are about answers that somebody commented on.
    """
    figures = _store().figures()
    if as_json:
        print_json([each.model_dump(mode="json") for each in figures])
        return
    table = Table("model", "version", "answers", "accuracy", "95 %", "ECE", "Brier", "pictures")
    for each in figures:
        low, high = each.interval
        table.add_row(
            each.model,
            each.version,
            f"{each.answers:,}",
            f"{each.accuracy:.4f}",
            f"{low:.4f} to {high:.4f}",
            "" if each.ece is None else f"{each.ece:.4f}",
            "" if each.brier is None else f"{each.brier:.4f}",
            f"{each.pictures:,}",
        )
    Console().print(table)


@feedback.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="The model; needed if there is feedback on several.")
def export(folder: Path, model: str | None) -> None:
    """Write feedback to a new FOLDER that `vitrine train FOLDER` reads.

    metadata.csv lists the pictures whose right classes are known, and feedback.jsonl all feedback.
    """
    done = write_export(_store(), folder, model)
    click.echo(f"{folder / TABLE}: {done.pictures:,} pictures of {done.classes:,} classes")
    left_out = {
        "have no picture": done.without_picture,
        "are only known to be wrong": done.without_label,
        "have newer feedback on the same picture": done.relabelled,
    }
    reasons = ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
    click.echo(f"of {done.answers:,} answers with feedback: {reasons or 'all are in it'}")


@feedback.command()
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="Erase all feedback.")
@click.option("--expired", is_flag=True, help="Erase what is older than VITRINE_FEEDBACK_DAYS.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation of --all.")
def erase(ids: tuple[str, ...], everything: bool, expired: bool, yes: bool) -> None:
    """Erase the feedback about answers, with its pictures.

    An ID is that of an answer, or the one that an export lists under `feedback`.
    """
    if bool(ids) + everything + expired != 1:
        raise click.UsageError("give ids, --all or --expired.")
    store = _store()
    if everything:
        if not yes:
            click.confirm("Erase all feedback?", abort=True)
        gone = store.erase_all()
    elif expired:
        days = timedelta(days=read_settings().feedback_days)
        gone = store.purge(datetime.now(UTC) - days)
    else:
        keys = [_key(store, name) for name in ids]
        missing = [name for name, key in zip(ids, keys, strict=True) if store.get(key) is None]
        if missing:
            raise VitrineError(f"there is no feedback {missing[0]}; nothing was erased.")
        gone = store.erase(keys)
    remains = "" if store.erase_traces() else f" {store.remains[0].upper()}{store.remains[1:]}."
    click.echo(f"erased the feedback about {gone:,} answers.{remains}")


def _store() -> FeedbackStore:
    """Open the database, which must exist: a wrong name must not create one."""
    given = read_settings().database
    url = parse_url(given)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise VitrineError(f"{given}: there is no such database; VITRINE_DATABASE names it.")
    return FeedbackStore(given)


def _key(store: FeedbackStore, name: str) -> str:
    if KEY.fullmatch(name):
        return name
    answer = read_id(store.secret, name)
    if answer is None:
        raise VitrineError(f"{name}: is not the id of an answer of this database's servers.")
    return answer.key
