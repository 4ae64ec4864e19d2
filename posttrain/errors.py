"""The errors that end a command with a message instead of a traceback."""


class InputError(ValueError):
    """Something given to us is wrong: the message names the file, the value and the mend; the command exits with 2."""

    def __init__(self, problems: str | list[str]):
        """`problems`: one message or every one that was found."""
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DiskFullError(RuntimeError):
    """A disk filled during a write: one line that says which, and how to go on; the command exits with 1."""
