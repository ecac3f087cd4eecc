"""The one door to the API server: client, lease, event recorder."""
