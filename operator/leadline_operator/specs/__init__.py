"""Pure builders, one per child object: what is wanted in, a manifest out."""
