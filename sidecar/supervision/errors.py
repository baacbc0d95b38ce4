"""What can go wrong with a set of processes. Each message is one line that a person can act on."""


class SupervisionError(Exception):
    """The root of this room's errors; its text is the line to print."""


class UsageError(SupervisionError):
    """An option has a value that means nothing; the message names it and says what is allowed."""


class StartupError(SupervisionError):
    """Something could not be started; whatever had been started is stopped again."""


class GaveUpError(SupervisionError):
    """A process died so often that starting it once more would not help."""
