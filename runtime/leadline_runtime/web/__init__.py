"""HTTP/1.1 of our own over uvloop and httptools: connections, limits, answers. Knows nothing of models."""
