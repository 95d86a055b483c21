"""Rate and distortion of this codec and of classical ones, and their figures."""
