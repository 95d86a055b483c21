"""FlipReID: closing the gap between training and inference in person re-identification (Publication II)."""
