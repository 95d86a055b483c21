"""ShuffleBits outside of a network: keys, arrays, sealed messages, and nonces of ChaCha20."""
