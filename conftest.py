"""Nothing to configure: the installed plugin does everything (see README.md)."""
