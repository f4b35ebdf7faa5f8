"""Live suite: is the switch deployed, secured and onboarded as planned."""
