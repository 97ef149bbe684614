"""The response cache over recorded exchanges: what it did, what it would do, and why; and making it again."""
