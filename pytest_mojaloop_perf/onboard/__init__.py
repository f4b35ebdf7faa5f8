"""Onboarding: from eight descriptions to a verified roster, through the admin API of the hub only."""
