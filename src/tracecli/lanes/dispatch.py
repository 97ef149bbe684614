"""mitmproxy's walk over all addons at each event, made once for each kind of event.

mitmproxy asks each of some 36 addons and their children, at each of the ten events of a request, whether it has a
handler: 40 % of the CPU of a request. `install` keeps the answers in a table, which is dropped whenever an addon is
added, removed or loaded anew. Order, exceptions and awaiting are as mitmproxy has them.

It replaces methods of mitmproxy that are not its public interface: only where they are the ones that it was made for.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from mitmproxy import addonmanager, exceptions, hooks

MADE_FOR = "12.2.3"
_REPLACED = ("trigger_event", "invoke_addon", "_iter_hooks")
_DIGEST = "d332985b557fa99d"
_CHANGES = ("add", "register", "remove", "clear")

type Handler = Callable[..., Any]


def install(manager: addonmanager.AddonManager) -> bool:
    """Give an addon manager the table; False, and nothing is changed, if this mitmproxy is another one."""
    if fingerprint() != _DIGEST:
        return False
    table = _Table(manager)
    for name in _CHANGES:
        setattr(manager, name, table.dropped_by(getattr(manager, name)))
    manager.trigger_event = table.trigger_event  # type: ignore[method-assign]
    return True


def fingerprint() -> str:
    """Of the code that the table takes the place of."""
    code = "".join(inspect.getsource(getattr(addonmanager.AddonManager, name)) for name in _REPLACED)
    return hashlib.sha256(code.encode()).hexdigest()[:16]


class _Table:
    """The handlers of each event: for each addon of the chain, its own and its children's."""

    def __init__(self, manager: addonmanager.AddonManager) -> None:
        self._manager = manager
        self._handlers: dict[str, list[list[Handler]]] = {}

    def dropped_by(self, change: Callable[..., Any]) -> Callable[..., Any]:
        """A method that changes the addons, and drops the table."""

        def changing(*args: Any) -> Any:
            try:
                return change(*args)
            finally:
                self._handlers = {}

        return changing

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call the handlers of an event."""
        found = self._handlers.get(event.name)
        if found is None:
            found = self._handlers[event.name] = self._find(event)
        args = event.args()
        for handlers in found:
            try:
                for handler in handlers:
                    result = handler(*args)
                    if result is not None and inspect.isawaitable(result):
                        await result
            except exceptions.AddonHalt:
                return
            except exceptions.OptionsError:
                raise
            except Exception:
                with addonmanager.safecall():  # says it as mitmproxy does
                    raise

    def _find(self, event: hooks.Hook) -> list[list[Handler]]:
        found = []
        for top in self._manager.chain:
            with addonmanager.safecall():
                found.append([handler for _, handler in self._manager._iter_hooks(top, event)])
        return [handlers for handlers in found if handlers]
