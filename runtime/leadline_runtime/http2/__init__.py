"""HTTP/2 of our own over uvloop and hpack: frames, header blocks, flow control, streams. Knows nothing of gRPC or models."""
