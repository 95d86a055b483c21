"""The numbers of Publication I."""

PUBLICATION = "Adaptive L2 Regularization in Person Re-Identification"

# mAP and CMC rank-1 in % (Table 2.2 and Table III (pub)): row -> data set -> values.
PAPER = {
    "minimal": {"market1501": (28.3, 60.0), "duke": (28.7, 49.9), "msmt17": (11.4, 34.0)},
    "triplet": {"market1501": (79.9, 92.0), "duke": (68.8, 82.2), "msmt17": (44.0, 70.9)},
    "regional": {"market1501": (81.3, 93.3), "duke": (71.2, 84.2), "msmt17": (47.9, 74.2)},
    "erasing": {"market1501": (85.8, 94.4), "duke": (76.6, 87.0), "msmt17": (54.1, 77.0)},
    "clipping": {"market1501": (86.8, 94.3), "duke": (78.1, 87.6), "msmt17": (56.5, 78.4)},
    "baseline": {"market1501": (87.2, 94.6), "duke": (78.9, 88.0), "msmt17": (57.7, 79.1)},
    "adaptive": {"market1501": (88.3, 95.3), "duke": (79.9, 88.9), "msmt17": (59.4, 79.6)},
    "adaptive_resnet101": {"market1501": (88.6, 94.8), "duke": (80.6, 89.2), "msmt17": (61.9, 81.3)},
    "adaptive_resnet152": {"market1501": (88.9, 95.6), "duke": (81.0, 90.2), "msmt17": (62.2, 81.7)},
}
PAPER_RERANKED = {"market1501": (94.4, 96.0), "duke": (90.7, 92.2), "msmt17": (76.7, 84.9)}  # of the last row
