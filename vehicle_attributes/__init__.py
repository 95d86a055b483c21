"""Publication IV: vehicle type, make and model recognized by the nearest images of a gallery that may grow."""
