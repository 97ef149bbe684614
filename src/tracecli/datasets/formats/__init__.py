"""The formats of training files, one module a family of them."""
