"""The response cache: identical requests are answered again without asking the provider."""
