"""Makes weights of Keras from a PyTorch checkpoint: `python -m common.backbones import resnest50 resnest50.pth`."""

from collections.abc import Sequence

import tyro

from common.backbones.checkpoints import import_checkpoint
from common.experiments.config import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; default: `sys.argv[1:]`."""
    commands = {"import": import_checkpoint}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m common.backbones", args=arguments)


if __name__ == "__main__":
    run_command(main)
