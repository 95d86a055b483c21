"""Publication V: images as binary codes of blocks, each written by the network that suits it."""
