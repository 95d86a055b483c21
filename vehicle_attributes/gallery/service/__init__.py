"""A gallery over HTTP, with a page to browse its classes, add exemplars and ask it."""
