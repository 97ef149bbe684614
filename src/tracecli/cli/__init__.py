"""The command line: one file a command, a plain function underneath, one boundary for errors (`main`)."""
