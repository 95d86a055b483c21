"""The numbers of Publication III."""

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
