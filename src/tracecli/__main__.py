"""`python -m tracecli`."""

from tracecli.cli.main import main

main()
