"""`python -m PROJECT.export`."""

from common.experiments.config import run_command

from . import export

if __name__ == "__main__":
    run_command(export.main)
