"""Load: the k6 script, its configuration, its process and its records."""
