"""What the re-identification projects share: networks, training in two stages, scores, studies, reports."""
