"""Running mitmproxy with the addon."""
