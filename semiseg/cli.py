"""The command ``semiseg`` and what every command line does around its work: one-line errors, exit codes, Ctrl-C."""

import argparse
import importlib
import io
import os
import re
import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import semiseg
from semiseg.common.checkout import checkout
from semiseg.common.errors import Note, UserError
from semiseg.common.os_errors import one_line
from semiseg.common.text import did_you_mean

_OVERRIDE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*=.*", re.DOTALL)


class Command(NamedTuple):
    """``target``: the module and function that take the arguments, or a program of the clone; loaded when called."""

    target: str
    help: str


COMMANDS = {
    "train": Command("semiseg.train:main", "train from a configuration"),
    "evaluate": Command("semiseg.evaluate:main", "score a checkpoint"),
    "predict": Command("semiseg.predict:main", "predict images of any size and kind with a trained network"),
    "report": Command("semiseg.report:main", "make one HTML page about training runs"),
    "show-prototypes": Command("tools/show_prototypes.py", "look at the prototypes of a run"),
    "export": Command("semiseg.export:main", "export the evaluated network as ONNX or MindIR"),
    "config": Command("semiseg.config.loading:main", "show a configuration and where each value was written"),
    "doctor": Command("semiseg.doctor.command:main", "try every operator and method on a device, beside a CPU"),
    "compare": Command("tools/compare.py", "compare methods on one data set over splits and seeds"),
    "new": Command("semiseg.prepare.new:main", "make an experiment on images of one's own, from two folders"),
    "check-data": Command("semiseg.prepare.check_data:main", "look at all data of a configuration"),
    "make-splits": Command("semiseg.prepare.make_splits:main", "draw labelled and unlabelled parts"),
    "fetch-splits": Command("semiseg.prepare.fetch_splits:main", "bring the published lists into place"),
    "weights": Command("semiseg.prepare.weights:main", "list ImageNet weights of encoders, and fetch them"),
    "make-synthetic": Command("semiseg.prepare.make_synthetic:main", "make the synthetic data set"),
    "prepare-voc": Command("semiseg.prepare.prepare_voc:main", "make SegmentationClassAug from VOC and SBD"),
    "prepare-cityscapes": Command("semiseg.prepare.prepare_cityscapes:main", "make Cityscapes' labelTrainIds"),
    "prepare-camvid": Command("semiseg.prepare.prepare_camvid:main", "bring CamVid into place, with lists"),
    "convert-checkpoint": Command("semiseg.interop.convert:main", "convert a checkpoint to the form of best.ckpt"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """``semiseg COMMAND [arguments]``; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    return run(partial(_dispatch, debug=[argument for argument in arguments if argument == "--debug"]), arguments)


def _dispatch(arguments: list[str], debug: Sequence[str] = ()) -> int | None:
    """``debug``: for a program of the clone, which reads its command line itself."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"semiseg {semiseg.__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"{name}: no such command{did_you_mean(name, COMMANDS)}")
    module, _, function = COMMANDS[name].target.partition(":")
    return getattr(importlib.import_module(module), function)(rest) if function else _run_program(name, [*rest, *debug])


def _run_program(name: str, arguments: list[str]) -> int:
    """Runs a program of the clone in this process; it ends with SystemExit."""
    folder = checkout()
    if folder is None:
        raise UserError(f"{name}: needs a clone of SemiSeg (experiments/, tools/), and this is an installation without")
    path = folder / COMMANDS[name].target
    sys.argv = [program(name), *arguments]
    sys.path.insert(0, str(path.parent))  # as Python does, for what lies beside it
    runpy.run_path(str(path), run_name="__main__")
    return 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {program('COMMAND')} [arguments]     ({program('COMMAND')} --help explains one)",
            "",
            "Semi-supervised semantic segmentation on MindSpore.",
            "",
            *(f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()),
            "",
            "--debug anywhere shows the traceback behind a one-line error; --version prints the version.",
        ]
    )


def run(work: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """``work(arguments)`` with the project's exit codes: 0 fine, 1 our fault, 2 the user can mend it, 130 Ctrl-C.

    ``--debug`` anywhere on the command line shows the traceback behind a one-line error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    _print_anything()
    warnings.showwarning = _show_warning
    warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on metadata, which does not decide what can be read
    try:
        code = _guarded(work, arguments, debug)
    finally:
        unwritten = _flush_output()
    return code or unwritten


def _guarded(work: Callable[[list[str]], int | None], arguments: list[str], debug: bool) -> int:
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
    except MemoryError as error:
        if debug:
            raise
        why = " ".join(str(error).split()) or "an array does not fit"
        print(f"error: not enough memory ({why}); smaller images, crops or batches need less", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output left (| head): not an error of ours
        return 0
    except OSError as error:  # what no part of the program knew more of: a folder one may not enter, a dead drive
        if debug or error.errno is None:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:
        if debug or error.encoding == "utf-8" or error.encoding != sys.getfilesystemencoding():
            raise
        print(
            f"error: {error.object}: names of files can only be {error.encoding} here, because the locale says so; set "
            "LC_ALL=C.UTF-8 (or PYTHONUTF8=1)",
            file=sys.stderr,
        )
        return 2


def _print_anything() -> None:
    """Makes the terminal show what its encoding does not know as escapes: a class name must not cost a result."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_output() -> int:
    """Writes what is left to write; exit code 2 where there is no room for it. Where the reader has left, all further
    output goes nowhere: else Python would complain of it when it ends.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"error: {one_line(error)}", file=sys.stderr)
            return 2
    return 0


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
    """A note as one line, every other warning as Python shows it."""
    text = f"note: {message}\n" if isinstance(message, Note) else None
    sys.stderr.write(text or warnings.formatwarning(message, category, filename, lineno))


def parser(command: str, **options: Any) -> argparse.ArgumentParser:
    """The parser of a command: its name as it was called, and the line of ``COMMANDS`` as its description."""
    about = COMMANDS[command].help
    options.setdefault("description", f"{about[0].upper()}{about[1:]}.")
    return argparse.ArgumentParser(prog=program(command), **options)


def at_least(least: int) -> Callable[[str], int]:
    """A type for the parser: whole numbers from ``least`` on."""

    def number(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number, at least {least}, got {text!r}")
        return int(text)

    return number


def program(command: str) -> str:
    """How ``command`` was called: semiseg NAME, python -m semiseg NAME, python -m semiseg.name or tools/name.py."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else ""
    if module == "semiseg":
        return f"python -m semiseg {command}"
    if module.startswith("semiseg."):
        return f"python -m {module}"
    script = Path(sys.argv[0])
    if script.name == f"{command.replace('-', '_')}.py":
        return f"python tools/{script.name}"
    return f"semiseg {command}"


def split_overrides(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """(paths, overrides) of a command line that takes both: key=value is an override unless there is such a file."""
    overrides = [text for text in arguments if _OVERRIDE.fullmatch(text) and not Path(text).exists()]
    return [Path(text) for text in arguments if text not in overrides], overrides
