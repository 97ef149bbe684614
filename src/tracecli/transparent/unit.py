"""A unit of systemd that keeps transparent mode up. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_TEXT = """\
# Made by `tracecli transparent unit`. As root:
#   tracecli transparent unit ... > /etc/systemd/system/tracecli-transparent.service
#   systemctl daemon-reload && systemctl enable --now tracecli-transparent
[Unit]
Description=tracecli: calls to AI providers go through the recording proxy
After=network-online.target nftables.service
Wants=network-online.target

[Service]
Type=exec
ExecStart={up}
ExecStopPost={down}
# The rules go first, and the proxy after them: the one process that is told sees to that.
KillMode=mixed
TimeoutStopSec=40
Restart=on-failure
RestartSec=2
# What setting rules takes, and starting the proxy as a user and looking after it. The proxy itself has none of these.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SETUID CAP_SETGID CAP_KILL CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SYS_PTRACE
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
"""


def text(up: Sequence[str], down: Sequence[str]) -> str:
    """The unit file; `up` and `down` are command lines."""
    return _TEXT.format(up=_line(up), down=_line(down))


def _line(words: Sequence[str]) -> str:
    """A command line as systemd reads it: https://www.freedesktop.org/software/systemd/man/systemd.service.html."""
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if not word or any(letter in word for letter in " \t'\";") else word
