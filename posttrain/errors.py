"""The errors that end a command with a message instead of a traceback."""


class InputError(ValueError):
    """The input is wrong: the message names the file, the value and the fix; the command exits with 2."""

    def __init__(self, problems: str | list[str]):
        """`problems`: one message, or a list of all that were found."""
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DiskFullError(RuntimeError):
    """A disk filled up during a write: one line says which, and how to continue; the command exits with 1."""
