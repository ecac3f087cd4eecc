"""PURE: what is wanted, what exists and the time in; a Plan out."""
