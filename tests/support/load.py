"""A steady load of small calls through a proxy, each by a user of its own, with the time at which its answer ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.proxies import Proxy

_THREADS = 4


def body_of(user: str) -> bytes:
    """What a user asks."""
    question = {"role": "user", "content": f"{user} under load"}
    return json.dumps({"model": "gpt-4o-mini", "messages": [question]}).encode()


@dataclass
class Load:
    """What was sent. `ended` has the users whose answers arrived whole, and when, in seconds of the monotonic clock."""

    prefix: str
    ended: dict[str, float] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    """The bodies of those."""
    failures: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def ended_before(self, moment: float) -> set[str]:
        """The users whose answers had ended before `moment`."""
        return {user for user, at in list(self.ended.items()) if at < moment}


@contextlib.contextmanager
def load(proxy: Proxy, prefix: str, *, per_second: float = 100) -> Iterator[Load]:
    """Send requests until the end of the block; a proxy that dies meanwhile makes failures, no error."""
    current = Load(prefix)
    threads = [
        threading.Thread(target=_send, args=(proxy, current, number, _THREADS / per_second), daemon=True)
        for number in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield current
    finally:
        current.stopping.set()
        for thread in threads:
            thread.join(20)


def _send(proxy: Proxy, current: Load, thread: int, gap_s: float) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, context=proxy.trust(), timeout=10)
    connection.set_tunnel("api.openai.com", 443)
    number = 0
    due = time.monotonic()
    try:
        while not current.stopping.is_set():
            user = f"{current.prefix}-{thread}-{number}"
            headers = {"Content-Type": "application/json", "X-Tracecli-User": user}
            try:
                connection.request("POST", "/v1/chat/completions", body_of(user), headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    current.ended[user], current.answers[user] = time.monotonic(), body
                else:
                    current.failures += 1
            except (OSError, http.client.HTTPException):
                current.failures += 1
                connection.close()
            number += 1
            due = max(due + gap_s, time.monotonic() - gap_s)
            current.stopping.wait(max(0.0, due - time.monotonic()))
    finally:
        connection.close()
