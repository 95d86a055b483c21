"""The numbers of Publication III, and what of section 2.4 is made here."""

PUBLICATION = "On the Importance of Encrypting Deep Features"

# Mean cosine distance (Fig. 2.7): local set -> attack -> victim model.
PAPER = {
    "market1501": {
        "pixel": {"bot": 0.09053, "agw": 0.17465, "sbs": 0.03421},
        "feature": {"bot": 0.11218, "agw": 0.19536, "sbs": 0.04391},
        "adversarial": {"bot": 0.05319, "agw": 0.09156, "sbs": 0.02483},
    },
    "duke": {
        "pixel": {"bot": 0.10543, "agw": 0.23620, "sbs": 0.04229},
        "feature": {"bot": 0.15457, "agw": 0.23286, "sbs": 0.05275},
        "adversarial": {"bot": 0.06567, "agw": 0.13252, "sbs": 0.03327},
    },
}

# Figures and claims -> local set, and the attacks whose trainings on each victim model fill them.
PLAN = {
    "Fig. 2.6a": ("market1501", ("attributes",)),
    "Fig. 2.6b": ("duke", ("attributes",)),
    "Fig. 2.7a": ("market1501", ("pixel", "feature", "adversarial")),
    "Fig. 2.7b": ("duke", ("pixel", "feature", "adversarial")),
    "section 2.4.3.4, Market-1501": ("market1501", ("attributes", "pixel", "feature", "adversarial")),
    "section 2.4.3.4, DukeMTMC-reID": ("duke", ("attributes", "pixel", "feature", "adversarial")),
}

# Figures, numbers and claims that no training makes -> why.
LEFT_OUT = {
    "Fig. 2.4": "a drawing of who talks to whom; service/ is that server and its client",
    "Fig. 2.5": "one number under one key; a test encrypts such numbers by hand",
    "the heights of Fig. 2.6's bars": "printed as a picture only, so ours stand next to chance alone",
    "the images of Fig. 2.7": "which images these are is not given; ours are spread evenly over the test set",
    "section 2.4.3.5": "a comparison with AES in words; RESULTS measures its speed, and the attacks on the cipher",
}
