"""Verdict: may we conclude, and were the objectives met."""
