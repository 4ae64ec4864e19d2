"""The `posttrain` command: sets the environment for Hugging Face's libraries and turns errors into an exit status.

0: done. 1: failed. 2: the input or the command was wrong; each problem has one message with the file, value and fix.
"""

import logging
import os
import re
import sys
import warnings
from pathlib import Path

from posttrain.errors import DiskFullError, InputError

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "BITSANDBYTES_NOWELCOME": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "PYTHONSAFEPATH": "1",
}
"""Defaults for variables that the user has not set: no usage reports, no banners, no warnings about forked tokenizers.
Python processes started from here do not import from the working folder."""
INTERRUPTED = 130
TILDE = re.compile(r"(|--[\w-]+=)(~(?:/.*)?)", re.DOTALL)


def main() -> None:
    """Run the command and exit."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning)  # about future versions, meant for developers
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about an optional kernel it does not need
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit status. Errors that are not the user's are raised: a traceback and status 1."""
    from posttrain.cli.app import app
    from posttrain.machine import streams

    with streams.patient():
        try:
            app([_at_home(argument) for argument in arguments], prog_name="posttrain")
        except SystemExit as stop:
            if stop.code == INTERRUPTED:
                print("posttrain: stopped; the same command goes on from the last finished step", file=sys.stderr)
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except InputError as error:
            for problem in error.problems:
                print(f"posttrain: {streams.visible(problem)}", file=sys.stderr)
            return 2
        except Exception as error:
            from posttrain.machine import disk

            message = str(error) if isinstance(error, DiskFullError) else disk.told(error, Path.cwd())
            if message is None:
                raise
            print(f"posttrain: {streams.visible(message)}", file=sys.stderr)
            return 1
        return 0


def _at_home(argument: str) -> str:
    """Replace `~` in `~/x` and `--option=~/x` by the home folder, where the shell did not (quotes, `=`)."""
    found = TILDE.fullmatch(argument)
    return found[1] + os.path.expanduser(found[2]) if found else argument


if __name__ == "__main__":
    main()
