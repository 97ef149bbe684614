"""A proxy of somebody else's, as a company has: it opens tunnels, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading


class Tunnels:
    """Listens on a port of loopback. With `to`, all tunnels lead to that port of this machine."""

    def __init__(self, to: int | None = None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        self.heads: list[str] = []
        self._to = to
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(4096)
            if not more:
                client.close()
                return
            head += more
        target = head.split(b" ")[1].decode()
        self.asked.append(target)
        self.heads.append(head.decode())
        host, _, port = target.rpartition(":")
        server = socket.create_connection(("127.0.0.1", self._to) if self._to else (host, int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
        back.start()
        _pass_on(client, server)
        back.join()
        client.close()
        server.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
