"""The networks of a codec: built, trained, stored in one file, and run on blocks."""
