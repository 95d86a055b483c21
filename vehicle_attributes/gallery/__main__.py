"""The command line of galleries: python -m PROJECT.gallery {build,add,remove,query}."""

from common.experiments.config import run_command

from .cli import main

if __name__ == "__main__":
    run_command(main)
