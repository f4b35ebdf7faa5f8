"""The pytest hooks of the suite; hooks only."""
