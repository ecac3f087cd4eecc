"""`make bench-serving`: the model server beside others, in one run. `__main__.py` says how to read it."""
