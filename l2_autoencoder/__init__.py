"""Clustering and unsupervised anomaly detection with L2-normalized autoencoders (Publication VI)."""
