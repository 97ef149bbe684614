"""tracecli: what exactly did we send, what came back, what did it cost."""

__version__ = "0.1.0"
