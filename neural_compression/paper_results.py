"""The numbers of Publication V."""

PUBLICATION = "Block-optimized Variable Bit Rate Neural Image Compression"

# PSNR in dB and bits per pixel on the validation set of CLIC 2018 (Tables 4.1 and 4.2, Table 1 (pub)).
PAPER: dict[str, tuple[float, float | None]] = {
    "baseline": (27.055, 0.151),
    "no_simulated_binarization": (23.882, None),
    "no_actual_binarization": (25.751, None),
    "no_l2_normalization": (26.778, 0.134),
    "no_l2_normalization_236": (27.055, 0.151),
    "no_entropy_loss": (27.258, 0.216),
    "no_overlap": (26.946, None),
    "batch_normalization": (26.882, None),
    "multiple": (27.691, None),
    "experts": (27.779, None),
    "decoders": (27.792, None),
    "deblocking": (28.088, None),
}
BASELINE_BPP = 0.151  # at which the rows of Table 4.2 stand beside each other
PAPER_OPTIMIZED = (28.929, 0.149)  # last row of Table 4.2: preset deblocking with code optimization
# The same on the test set of CLIC 2018 (Table 4.3).
PAPER_CODECS = {"JPEG": (25.612, 0.149), "BPG": (29.587, 0.148), "theirs": (27.920, 0.148)}
TARGET_BPP = 0.148  # of Table 4.3: bits per pixel at which codecs are compared

# Rows of the tables that no preset trains -> why.
LEFT_OUT: dict[str, str] = {
    "Table 4.2: + code optimization": "it trains nothing: preset deblocking, evaluated with --optimize encoder",
    "Table 4.3: ours": "it trains nothing: preset deblocking on CLIC's test photographs, with --optimize encoder",
    "Table 4.3: JPEG": "it trains nothing: each evaluation measures it on the photographs of its run",
    "Table 4.3: BPG": "no package installs it: HEVC intra, which it is made of, is measured in its place",
}
