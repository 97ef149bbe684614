"""How much does redaction find, what does it find that is none, and how long does it take?

    TRACECLI_RECORDINGS=FOLDER python3 -m uv run --group dev python -m benches.redaction [--seed 1]

Into each recorded request and answer of JSON, values of every kind are planted, one at a time, at a random place of a
random text: how many of them are gone afterwards is the recall. What is found where nothing is planted is printed, kind
by kind: the recordings hold no personal data that anybody knows of, but addresses of examples. Then the time for each
KB, of all kinds, and of the quick look for signs of secrets.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.providers import recordings
from tests.test_redaction import ALL, IDS, PLANTED, SECRETS
from tracecli.redaction import Rules, may_hold_secret, redact, rules


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    chance = random.Random(parser.parse_args().seed)
    by = rules(ALL, {})
    bodies = [body for row in recordings.rows("exchanges.jsonl") for body in recordings.exchange(row)[1:] if body]
    if not bodies:
        raise SystemExit("TRACECLI_RECORDINGS names no folder of recordings.")
    planted = {kind: [*PLANTED[kind], *IDS.get(kind, ())] for kind in PLANTED}
    planted["secrets"] = SECRETS
    for kind, values in planted.items():
        found = tried = 0
        for body in _json(bodies):
            value = chance.choice(values)
            changed = _with(body, value, chance)
            if changed is None:
                continue
            tried += 1
            cleaned = redact(changed, None, by).body or b""
            found += json.dumps(value)[1:-1].encode() not in cleaned and value.encode() not in cleaned
        print(f"{kind:14} {found:5} of {tried:5} planted are gone")
    print("found where nothing is planted:", dict(_found(bodies, by)), f"in {len(bodies)} bodies")
    size = sum(map(len, bodies)) / 1000
    for name, what in (("all kinds", lambda body: redact(body, None, by)), ("signs of secrets", may_hold_secret)):
        begun = time.perf_counter()
        for body in bodies:
            what(body)
        print(f"{name:18} {(time.perf_counter() - begun) * 1000 / size:.3f} ms a KB")


def _json(bodies: list[bytes]) -> Iterator[Any]:
    for body in bodies:
        try:
            value = json.loads(body)
        except ValueError:
            continue
        yield value


def _with(value: Any, planted: str, chance: random.Random) -> bytes | None:
    """The body with a value in one of its texts; None if it has none."""
    places = list(_texts(value))
    if not places:
        return None
    inside, key = chance.choice(places)
    text = inside[key]
    cut = chance.choice([0, len(text), *(place for place, letter in enumerate(text) if letter == " ")])
    inside[key] = f"{text[:cut]} {planted} {text[cut:]}"
    body = json.dumps(value).encode()
    inside[key] = text
    return body


def _texts(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, str) and len(inner) < 500:
            yield value, key
        else:
            yield from _texts(inner)


def _found(bodies: list[bytes], by: Rules) -> Counter[str]:
    found: Counter[str] = Counter()
    for body in bodies:
        found += redact(body, None, by).found
    return found


if __name__ == "__main__":
    main()
