"""What users write and read: the ModelDeployment's models, names and reasons."""
