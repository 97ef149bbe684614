"""A mitmproxy script for tests: upstream connections go to the stand-in, whatever the host.

`STANDIN_PORTS` is JSON: ports of 127.0.0.1 by host name, `""` for all other hosts. The name in TLS stays, so that
certificates are verified as for the real host.
"""

from __future__ import annotations

import json
import os

from mitmproxy.connection import Address
from mitmproxy.proxy.server_hooks import ServerConnectionHookData


class Redirect:
    """Sends connections elsewhere."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = json.loads(os.environ["STANDIN_PORTS"])
        self.meant: dict[str, Address] = {}

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """A connection is about to be made."""
        if data.server.address:
            host = data.server.address[0]
            self.meant[data.server.id] = data.server.address
            data.server.address = ("127.0.0.1", self.ports.get(host, self.ports[""]))

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """A connection was made: call it by its own name again.

        mitmproxy uses a connection again for requests to the same address; otherwise it would make one for each, and
        wait for ever after the fifth. It lets nobody set the address of an open connection, so this goes around it.
        """
        vars(data.server)["address"] = self.meant.pop(data.server.id)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """A connection could not be made."""
        self.meant.pop(data.server.id, None)


addons = [Redirect()]
