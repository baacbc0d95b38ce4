"""How a call to the origin can fail; what counts is whether the origin may have executed it."""


class OriginError(Exception):
    """No whole answer came; the message says why. Raised only as one of the classes below."""


class NeverSentError(OriginError):
    """Not one byte of the request was written: the origin cannot have executed it."""


class MayHaveBeenSentError(OriginError):
    """The request was at least begun, and the answer is missing or stops short: nobody can say.

    Attributes:
        response_began: Whether the head of an answer had come.
    """

    def __init__(self, message: str, *, response_began: bool = False) -> None:
        super().__init__(message)
        self.response_began = response_began


class DeadlineError(MayHaveBeenSentError):
    """The deadline passed after the request was begun."""
