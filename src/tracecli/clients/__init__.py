"""What each client needs to come through the proxy: `table.py` is the data, the rest is made from it."""
