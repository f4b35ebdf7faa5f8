"""Live suite: is the place fit to measure on."""
