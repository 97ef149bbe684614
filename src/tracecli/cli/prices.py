"""`tracecli prices`: the prices in use."""

from __future__ import annotations

import datetime as dt
import difflib

import click

from tracecli import config
from tracecli.cli import formats, output
from tracecli.cli.formats import Form
from tracecli.price_list import FILE


@click.command("prices")
@click.argument("model", required=False)
@click.option("--provider", help="Only of this provider, named as in `usage show`.")
@formats.options(csv=True, json_help="Print JSON: one object with the list and its sources.")
def command(form: Form, model: str | None, provider: str | None) -> None:
    """Show the prices in use, and where they are from.

    MODEL names a model, as a call names it; with * or ? it is a pattern. Without MODEL all are shown. Rates are US
    dollars per million tokens, at the standard tier and, in parentheses, at the others.

    Prices are those bundled with genai-prices; nothing is fetched. The file prices.toml in the policy folder adds
    others and goes before them; its prices are marked. After a change, `tracecli reprice` works out stored costs again.
    """
    from tracecli import price_file, price_table

    folder = config.policy_folder(config.home())
    prices = price_file.load(folder)
    if provider is not None:
        known = price_table.providers(prices)
        if provider not in known:
            near = difflib.get_close_matches(provider, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"those with prices are {', '.join(known)}."
            raise click.UsageError(f"no prices of a provider {provider!r}: {meant}")
    now = dt.datetime.now(dt.UTC)
    found = price_table.table(prices, now, model, provider)
    if not form.is_table:
        listed = [one.as_json() for one in found]
        whole = {
            "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "genai_prices": price_table.version(),
            "prices_toml": str(folder / FILE) if prices.entries else None,
            "prices": listed,
        }
        form.write(listed, whole=whole)
        return
    own = f"{len(prices.entries)} in {folder / FILE}" if prices.entries else f"no {FILE} in {folder}"
    source = f"genai-prices {price_table.version()}, bundled · {own}"
    if found:
        output.prices(found, source)
    else:
        output.say(f"No price is known for that: calls of it are recorded with the cost unknown.\n{source}")
