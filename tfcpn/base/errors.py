"""The one exception that a user's mistake raises."""


class InputError(Exception):
    """Bad input: one line that names the file, record or field, and says what to do.

    The entry points print it without a traceback and exit with status 1.
    """


class Lost(InputError):
    """Something outside this process is gone, such as another one of a training: the same command goes on.

    The entry points exit with status `RESUMABLE`.
    """


class Stopped(BaseException):
    """Asked to stop by a signal, with everything saved that the same command needs to go on.

    The entry points print it and exit with status `RESUMABLE`.
    """


# EX_TEMPFAIL of sysexits.h: try again. Schedulers tell it from a failure (1) and from a kill (137).
RESUMABLE = 75
