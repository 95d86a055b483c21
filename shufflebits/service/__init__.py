"""The victim model behind HTTP: a server of encrypted features, and its client."""
