"""The model itself: its file, its session in onnxruntime, and the batches it runs."""
