"""The numbers of Publication VI."""

PUBLICATION = "Clustering and Unsupervised Anomaly Detection with L2 Normalized Deep Auto-Encoder Representations"

# Clustering accuracy in % (Tables 5.1 to 5.3): (data set, architecture, normalization) -> value.
PAPER_ACCURACY = {
    ("mnist", "dense", "none"): 81.43,
    ("mnist", "dense", "l2"): 90.20,
    ("mnist", "convolutional", "none"): 84.83,
    ("mnist", "convolutional", "batch"): 70.67,
    ("mnist", "convolutional", "layer"): 70.83,
    ("mnist", "convolutional", "l2"): 95.11,
    ("usps", "convolutional", "none"): 73.52,
    ("usps", "convolutional", "batch"): 74.95,
    ("usps", "convolutional", "layer"): 75.26,
    ("usps", "convolutional", "l2"): 91.35,
}

# Methods of others, as the publication borrows their numbers: (data set, architecture) -> method -> value.
BORROWED_ACCURACY = {
    ("mnist", "dense"): {"DAE of IDEC, k-means": 81.82, "DEC": 86.55, "IDEC": 88.06},
    ("mnist", "convolutional"): {"CAE of DCEC, k-means": 84.90, "DCEC": 88.97},
    ("usps", "convolutional"): {"CAE of DCEC, k-means": 74.15, "DCEC": 79.00},
}

# ROC AUC on MNIST (Table 5.4): abnormal digit -> CAE reconstruction, CAE cluster, CAE L2 cluster. The first is of the
# autoencoder with the L2 constraint as well (section IV-B (pub)), whatever its name.
PAPER_AUC = {
    0: (0.7025, 0.7998, 0.9615),
    1: (0.0782, 0.8871, 0.9673),
    2: (0.8790, 0.7512, 0.9790),
    3: (0.8324, 0.8449, 0.9382),
    4: (0.7149, 0.4988, 0.7825),
    5: (0.8359, 0.7635, 0.9136),
    6: (0.6925, 0.7896, 0.9497),
    7: (0.5767, 0.7421, 0.9100),
    8: (0.8912, 0.9200, 0.9237),
    9: (0.5140, 0.8944, 0.7495),
}

# The same of methods of others (Table V (pub)): autoencoder and variational autoencoder, by reconstruction.
BORROWED_AUC = {
    0: (0.825, 0.917),
    1: (0.135, 0.136),
    2: (0.874, 0.921),
    3: (0.761, 0.781),
    4: (0.727, 0.808),
    5: (0.792, 0.862),
    6: (0.812, 0.848),
    7: (0.508, 0.596),
    8: (0.869, 0.895),
    9: (0.548, 0.545),
}

# Columns of the tables that no preset trains -> why.
LEFT_OUT: dict[str, str] = {
    "Table 5.1: DAE of IDEC, DEC, IDEC": "methods of others, whose numbers the publication borrows",
    "Table 5.2: CAE of DCEC, DCEC": "methods of others, whose numbers the publication borrows",
    "Table 5.4: AE, VAE": "methods of others, trained on normal images alone, whose numbers the publication borrows",
}
