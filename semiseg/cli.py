"""What every command line does around its work: one-line errors, exit codes, Ctrl-C."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from semiseg.common.errors import UserError

_OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=.*", re.DOTALL)


def run(work: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """``work(arguments)`` with the project's exit codes: 0 fine, 1 our fault, 2 the user can mend it, 130 Ctrl-C.

    ``--debug`` anywhere on the command line shows the traceback behind a one-line error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return work(arguments) or 0
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left (| head): not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def split_overrides(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """(paths, overrides) of a command line that takes both: key=value is an override unless there is such a file."""
    overrides = [text for text in arguments if _OVERRIDE.fullmatch(text) and not Path(text).exists()]
    return [Path(text) for text in arguments if text not in overrides], overrides
