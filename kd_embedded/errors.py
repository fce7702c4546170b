"""The errors a user can cause or meet. Each carries what is wrong, where, and what to do about it."""

from __future__ import annotations


class KdError(Exception):
    """Something the user can act on, told in one line.

    ``what`` says what is wrong, with the values; ``where`` names the file, key, op or tensor; ``todo`` says what to do.
    The command line prints ``str(error)`` and exits with ``exit_code``.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        line = f"{where}: {what}" if where else what
        if todo:
            line += f": {todo}"
        super().__init__(" ".join(line.split()))


class ConfigError(KdError):
    """kd.toml or a command line option is wrong."""


class DataError(KdError):
    """The data set cannot be used as it is."""


class ModelError(KdError):
    """A Keras or TFLite model cannot be used as it is."""


class BudgetError(KdError):
    """The result cannot meet a budget of the config."""

    exit_code = 1


class ToolError(KdError):
    """A program or package that a command needs is absent or failed."""


def first_line(error: Exception) -> str:
    """What a foreign exception says first; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
