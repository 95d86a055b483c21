"""Speed and memory next to other ways: `make bench` on an otherwise idle machine, never in continuous integration."""
