"""Exceptions that the entry points turn into one line and an exit status."""


class InputError(Exception):
    """Bad input, described in one line that names the file, record or field and the remedy.

    The entry points print the line without a traceback and exit with status 1.
    """


class PeerLostError(InputError):
    """A process or service that this run depends on is gone; the same command resumes the run.

    The entry points exit with status `EXIT_RESUMABLE`.
    """


class Preempted(BaseException):
    """Stopped by a signal after all state was saved; the same command resumes the run.

    The entry points print the message and exit with status `EXIT_RESUMABLE`.
    """


# EX_TEMPFAIL of sysexits.h. Schedulers can tell it from a failure (1) and from a kill (137).
EXIT_RESUMABLE = 75
