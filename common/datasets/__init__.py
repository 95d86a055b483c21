"""One reader per data set, and the deterministic input pipeline."""
