"""Targets: where an environment comes from."""
