"""Model bytes by their SHA-256, on the volume or in a bucket."""
