"""What the log of a training says of its progress."""

import numpy as np
import pandas as pd

from common.experiments.learning_curve import curve_cell, learning_record


def test_progress_is_read_from_the_log(tmp_path):
    values = [np.nan, 0.2, np.nan, 0.3, np.nan, 0.41234, np.nan, 0.45, np.nan, 0.4501, np.nan, 0.4502]
    pd.DataFrame({"epoch": range(1, 13), "score": values}).to_csv(tmp_path / "log.csv", index=False)
    read = learning_record(tmp_path, "score")
    assert read == {
        "curve": {"2": 0.2, "4": 0.3, "6": 0.4123, "8": 0.45, "10": 0.4501, "12": 0.4502},
        "converged": True,
    }
    cell = curve_cell([read, {"curve": {**read["curve"], "12": 0.55}}])
    assert cell == "2: 20.0, 4: 30.0, 6: 41.2, 8: 45.0, 10: 45.0, 12: 50.0"
    pd.DataFrame({"epoch": [1], "loss": [2.0]}).to_csv(tmp_path / "log.csv", index=False)
    assert learning_record(tmp_path, "score") == {"curve": {}, "converged": False}
