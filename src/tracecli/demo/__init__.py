"""`tracecli demo`: the real proxy between a stand-in provider and a client, all on this machine."""
