"""What is said about the switch under test: its security as observed."""
