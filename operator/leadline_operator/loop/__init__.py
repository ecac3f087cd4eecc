"""Cache, keyed work queue, due times and workers: gathers what is observed, and carries out a Plan."""
