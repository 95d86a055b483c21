"""The numbers of Publication IV."""

PUBLICATION = (
    "Vehicle Attribute Recognition by Appearance: "
    "Computer Vision Methods for Vehicle Type, Make and Model Classification"
)

# Accuracy in % on VERI-Wild (Table 3.5): attribute -> loss -> value. Tables are numbered as in the dissertation; the
# publication's Tables 1 to 5 have the same rows.
PAPER = {
    "type": {"cross_entropy": 96.8, "triplet": 97.4, "lifted_structured": 97.7},
    "make": {"cross_entropy": 95.6, "triplet": 95.3, "lifted_structured": 96.2},
}

# The most accurate method that Tables 3.2 to 3.4 list for the other sets, none of them the publication's own.
LISTED = {
    "compcars_type": "63.1 (Yang et al. 2015)",
    "compcars_make": "99.6 (Xiang et al. 2019)",
    "compcars_model": "98.5 (Xiang et al. 2019)",
    "compcars_sv_model": None,
    "mio_tcd_type": "97.9 (Lee and Chung 2017)",
}

# Table -> its rows.
ROWS = {"3.1": 15, "3.2": 20, "3.3": 4, "3.4": 21, "3.5": 3}

# Tables that no preset fills, and why.
LEFT_OUT = {
    "3.1": "sizes of data sets, of which nothing is trained",
    "3.2": "types, by other authors' methods; this one's presets are `compcars_type_…` and `mio_tcd_type_…`",
    "3.3": "makes, likewise; `compcars_make_…`",
    "3.4": "models, likewise; `compcars_model_…` and `compcars_sv_model_…`",
}
