"""Captured inputs: `kept` is where they are, `joining` finds those of outcomes."""
