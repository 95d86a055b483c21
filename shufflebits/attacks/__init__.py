"""Attacks on stolen features (pub section 4): the victim, what is collected from it, and the models trained on that."""
