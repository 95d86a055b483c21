"""From binary codes to the bytes of a file and back, without loss."""
