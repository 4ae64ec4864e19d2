"""The `posttrain` command: environment for Hugging Face's libraries, and errors turned into exit status.

0 done, 1 failed, 2 the input or the command was wrong: one message per problem, naming file, value and mend.
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
"""Set where the user has not: no usage reports, no banners, no warnings about forked tokenizers; and Python that is
started from here imports nothing from the working folder."""
INTERRUPTED = 130
TILDE = re.compile(r"(|--[\w-]+=)(~(?:/.*)?)", re.DOTALL)


def main() -> None:
    """Run the command and exit."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the libraries' next versions, to their developers
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of an optional kernel that it does not need
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit status. What is not the user's mistake is raised: a traceback and status 1."""
    from posttrain.cli import streams
    from posttrain.cli.app import app

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
            from posttrain import disk

            message = str(error) if isinstance(error, DiskFullError) else disk.told(error, Path.cwd())
            if message is None:
                raise
            print(f"posttrain: {streams.visible(message)}", file=sys.stderr)
            return 1
        return 0


def _at_home(argument: str) -> str:
    """`~/x` and `--option=~/x` with the home folder in place of `~`, where the shell has left it (quotes, `=`)."""
    found = TILDE.fullmatch(argument)
    return found[1] + os.path.expanduser(found[2]) if found else argument


if __name__ == "__main__":
    main()
