"""What an encoder decides: the network and the code of each block, for a rate or a quality."""
