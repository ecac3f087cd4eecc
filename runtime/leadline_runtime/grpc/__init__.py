"""gRPC over our HTTP/2: calls, their status and compression, and the Open Inference Protocol's service."""
