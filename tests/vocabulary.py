"""Words that the repository does not use: the dialect of its first version, and British spelling."""

# Old word -> what the field says.
OLD = {
    "found": "the thing itself: outputs, matches, records",
    "kept": "cached, stored, selected",
    "told": "reported, named",
    "asked": "requested",
    "resting": "frozen",
    "rests": "frozen",
    "drawn": "synthetic",
    "dial": "quality",
    "dialled": "quality",
    "attempt": "EncodeSession, trial",
    "attempts": "EncodeSession, trials",
    "beside": "next to, neighbor_bits",
    "blackbox": "collect",
    "proprietary": "victim",
    "threats": "attacks",
    "scenario": "encryption setting",
    "scenarios": "encryption settings",
    "sender": "nonces",
    "candidates": "alternatives",
}
OLD_WORDS = set(OLD)
# Good English in a sentence, and riddles as names.
IN_SENTENCES = {"attempt", "attempts", "beside", "candidates", "dial", "drawn", "sender"}
PHRASES = ("drawn people", "drawn vehicles", "own arg-max", "waiting for data")
BRITISH = {
    "behaviour", "behaviours", "centre", "centres", "centred", "colour", "colours", "coloured", "grey", "greyscale",
    "initialise", "initialiser", "initialisers", "labelled", "modelled", "neighbour", "neighbours", "normalise",
    "normalised", "normalisation", "optimise", "optimised", "optimises", "optimisation", "recognise", "recognised",
    "regularise", "regularised", "regularisation", "synchronised", "vectorised",
}  # fmt: skip
