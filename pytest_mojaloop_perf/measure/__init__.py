"""Measurement: the steady window, percentiles, intervals, machine use, reconciliation."""
