"""Transparent mode on Linux: the firewall sends connections to the proxy, and clients know nothing of one.

`rules.py` makes the texts of rules, `firewall.py` has nft or iptables apply them, `system.py` reads and sets what else
the kernel has to say. `guard.py` is the process behind `tracecli transparent up`, `knock.py` how it sees that the
proxy answers, `state.py` what it leaves in /run for those who come after it, and `looking.py` is
`tracecli transparent status`.
"""
