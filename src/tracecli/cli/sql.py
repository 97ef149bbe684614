"""`tracecli sql`: questions that no other command answers."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracecli import config
from tracecli.cli import filters, formats, output
from tracecli.cli.formats import Form

if TYPE_CHECKING:
    from tracecli.store.sandbox import Answer


@click.command("sql", cls=filters.Asking)
@click.argument("statement", required=False, metavar="SELECT")
@click.argument("query", nargs=-1, metavar="[QUERY]")
@click.option("--schema", is_flag=True, help="List the views and their columns.")
@filters.options
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True, metavar="SECONDS", help="Stop then."
)
@filters.zone_options
@formats.options(csv=True)
def command(
    form: Form,
    statement: str | None,
    query: tuple[str, ...],
    schema: bool,
    timeout: float,
    zone: str | None,
    utc: bool,
    **given: Any,
) -> None:
    """Ask with SQL what was recorded, and change nothing.

    SELECT is one statement over the views exchanges, messages, bodies and daily_usage, in DuckDB's SQL; - reads it from
    standard input. QUERY and options say which exchanges the views have: 'since:7d user:alice'. For messages and bodies
    that saves time: they are read from all that fit.

    Nothing can be changed with it, and no file, network or setting reached. While a statement runs, what is recorded
    waits in the spool to be loaded.
    """
    where = filters.zone_of(zone, utc)
    if schema:
        if statement is not None:
            raise click.UsageError("--schema lists the views: leave the SELECT out.")
        _schema(form)
        return
    if statement == "-":
        statement = sys.stdin.read()
    if not statement or not statement.strip():
        raise click.UsageError("There is nothing to ask: write a SELECT, or --schema to see what there is.")
    wanted = filters.asked(query, given)
    from tracecli import asking

    home = config.home()
    now = dt.datetime.now(dt.UTC)
    if form.name == "parquet":  # DuckDB writes it, with the types that it has
        with form.writing(), asking.answer(home, statement, wanted, now, where, timeout_s=timeout, into=form.file):
            return
    with asking.answer(home, statement, wanted, now, where, timeout_s=timeout) as answer:
        _write(form, answer)


def _write(form: Form, answer: Answer) -> None:
    names = [name for name, _ in answer.columns]
    if form.is_table:
        from tracecli.tables import asked as tables

        rows = list(answer.rows)
        output.listing(tables.people(answer.columns, rows), tables.plain(answer.columns, rows))
    else:
        form.write(_records(answer, names), names)


def _records(answer: Answer, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    import json

    nested = [kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")) for _, kind in answer.columns]
    for row in answer.rows:
        values = [
            json.loads(value) if inner and value is not None else value
            for inner, value in zip(nested, row, strict=True)
        ]
        yield dict(zip(names, values, strict=True))


def _schema(form: Form) -> None:
    from tracecli.store import views

    if form.is_table:
        from tracecli.tables import asked as tables

        output.listing(tables.schema(views.all_views()), tables.schema_plain(views.all_views()))
        return
    columns = [
        {"view": view.name, "column": column.name, "type": column.kind, "comment": column.help}
        for view in views.all_views()
        for column in view.columns
    ]
    form.write(columns, ["view", "column", "type", "comment"])
