"""Errors that a user can mend: one line that says what was expected, what was found and how to mend it."""


class UserError(Exception):
    """Base of every error that the command lines print as one line, without a traceback."""


class ConfigError(UserError):
    """A configuration file or override is wrong; the message names the file and the key."""


class DataError(UserError):
    """An image, mask or list is missing or wrong; the message names the file."""


class CheckpointError(UserError):
    """A checkpoint cannot be read or does not fit; the message names the file and what differs."""


class Note(UserWarning):
    """Something that is allowed and worth knowing; the command lines print it once, as one line."""
