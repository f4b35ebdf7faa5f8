"""Live suite: the benchmark."""
