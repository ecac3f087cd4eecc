"""Open Inference Protocol v2 over REST: JSON in and out, checked against what the model takes."""
