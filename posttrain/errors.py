"""The errors that end a command with a message instead of a traceback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """The input is wrong: the message names the file, the value and the fix; the command exits with 2."""

    def __init__(self, problems: str | list[str]):
        """`problems`: one message, or a list of all that were found."""
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


@contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """Add the problems of an InputError that the block raises to the list, and continue after the block."""
    try:
        yield
    except InputError as error:
        problems += error.problems


def problems_of(call: Callable[..., object], *arguments: object) -> list[str]:
    """The problems of the InputError that the call raises; none if it raises none."""
    problems: list[str] = []
    with collecting(problems):
        call(*arguments)
    return problems


class DiskFullError(RuntimeError):
    """A disk filled up during a write: one line says which, and how to continue; the command exits with 1."""
