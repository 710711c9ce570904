"""The error whose text is meant for the user."""


class JobError(Exception):
    """A sentence for the user: what is wrong, where, and what to do about it.

    `exit_status` is what the process ends with: 1 when the work failed, 2 when what was given is bad.
    """

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status
