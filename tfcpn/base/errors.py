"""The one exception that a user's mistake raises."""


class InputError(Exception):
    """Bad input: one line that names the file, record or field, and says what to do.

    The entry points print it without a traceback and exit with status 1.
    """
