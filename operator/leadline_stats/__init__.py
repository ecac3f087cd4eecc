"""Losses, counts and bitmaps in; evidence, p-values, intervals and verdicts out. No Kubernetes words."""
