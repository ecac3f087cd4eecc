"""The operator: watches ModelDeployments and carries out what `reconcile` decides."""
