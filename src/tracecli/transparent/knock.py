"""Whether the proxy answers. Its process may live and hang, and the kernel goes on taking connections for it.

A client that leaves before it has said anything is let go by the proxy's event loop and by nothing else. That is no
request: nothing is decided about it, recorded, or sent anywhere.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time


class Knock:
    """One connection to the proxy's port, left to be answered."""

    def __init__(self, port: int) -> None:
        self.at = time.monotonic()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.connect_ex(("127.0.0.1", port))
        with contextlib.suppress(OSError):  # too many wait to be taken: this one is not connected, and not answered
            self._socket.shutdown(socket.SHUT_WR)

    def answered(self, within_s: float = 0.0) -> bool:
        """Whether the proxy has let it go, now or within so many seconds."""
        if not select.select([self._socket], [], [], within_s)[0]:
            return False
        try:
            self._socket.recv(1)
        except OSError:  # nobody listens, or whoever did has ended
            return False
        return True

    def close(self) -> None:
        """It need not be answered any more."""
        self._socket.close()
