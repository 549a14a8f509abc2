"""Downloads: one file from one of several addresses, checked before it stands in its place.

pooch fetches, checks the hash and moves the file. Trying again is ours: pooch would ask as often for a file that is not
there, and knows one address.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pooch
from requests import exceptions
from tqdm import tqdm

from semiseg.common.errors import DataError
from semiseg.common.files import cannot_write

AGENT = {"User-Agent": "semiseg-fetch"}  # some mirrors refuse the libraries' own
_LARGE = 1 << 20  # bytes from which on a file has a progress bar of its own
_BLOCK = 1 << 16
_UNTRUSTED = "certificate verify failed"  # OpenSSL's words
_BUSY = (408, 429)  # of HTTP's 4xx those that may be over soon


@dataclass(frozen=True)
class Patience:
    """``tries`` at each address, ``wait``, 2 ``wait``, ... seconds apart; ``say`` is told of each.

    An address that is silent for ``timeout`` seconds has failed.
    """

    tries: int = 3
    wait: float = 1.0
    timeout: float = 30.0
    say: Callable[[str], None] = field(default=print, repr=False)


def add_patience(parser: argparse.ArgumentParser) -> None:
    """--tries and --wait, of which a ``Patience`` is made; see ``check_patience``."""
    parser.add_argument("--tries", type=int, default=3, help="for each file, if the connection breaks (%(default)s)")
    parser.add_argument("--wait", type=float, default=1.0, help="seconds before the second try, then doubled")


def check_patience(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the command for values that cannot be."""
    if args.tries < 1 or args.wait < 0:
        parser.error("--tries must be at least 1 and --wait not negative")


def fetch(
    urls: Sequence[str],
    target: Path,
    sha256: str | None,
    size: int | None = None,
    patience: Patience = Patience(),
    otherwise: str = "check the network",
) -> None:
    """Brings one file to ``target``, from the first of ``urls`` (the same file on several servers) that gives it.

    A target that has the right bytes is kept and nobody is asked; one with others is replaced. ``sha256`` None: the
    bytes are taken as they come. ``size`` (bytes) is for the progress bar. ``otherwise``: what a user can do instead.

    Raises:
        DataError: no address gave the right bytes (one line with the reason at each), or the target cannot be written.
            What was at the target stays.
    """
    problems = []
    for url in urls:
        problem = _try_often(url, target, sha256, size, patience)
        if not problem:
            return
        problems.append(f"{url}: {problem}")
    raise DataError(f"{'; '.join(problems)}; {otherwise}")


def _try_often(url: str, target: Path, sha256: str | None, size: int | None, patience: Patience) -> str:
    """Why this address did not give the file; nothing if it did."""
    problem = ""
    for number in range(1, patience.tries + 1):
        try:
            _get(url, target, sha256, size, patience.timeout)
            return ""
        except exceptions.RequestException as error:
            problem = _reason(error, patience.timeout)
            if _is_final(error):
                return problem
        except OSError as error:
            raise cannot_write(target, error, error_type=DataError) from None
        except ValueError:  # pooch: the hash differs
            problem = "gives other bytes than the published ones (SHA-256 differs)"
        if number < patience.tries:
            pause = patience.wait * 2 ** (number - 1)
            patience.say(f"{url}: {problem}; try {number + 1} of {patience.tries} in {pause:g} s")
            time.sleep(pause)
    return f"{problem} ({patience.tries} tries)"


def _get(url: str, target: Path, sha256: str | None, size: int | None, timeout: float) -> None:
    pooch.get_logger().setLevel("WARNING")
    hidden = size is not None and size < _LARGE
    # pooch asks whether the bar is true, which a bar of unknown length is not.
    with tqdm(
        total=size or 1, unit="B", unit_scale=True, desc=target.name, dynamic_ncols=True, disable=hidden, leave=False
    ) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_BLOCK, timeout=timeout, headers=AGENT)
        pooch.retrieve(url, sha256 and f"sha256:{sha256}", target.name, target.parent, downloader=downloader)


def _is_final(error: exceptions.RequestException) -> bool:
    """Whether asking again cannot help: no such file, not allowed, no address, a certificate that is not trusted."""
    if error.response is not None:
        return 400 <= error.response.status_code < 500 and error.response.status_code not in _BUSY
    return _UNTRUSTED in str(error) or isinstance(error, ValueError)  # requests' errors on addresses are that too


def _reason(error: BaseException, timeout: float) -> str:
    """In a few words, without requests' chains of causes."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    if _UNTRUSTED in str(error):
        return (
            "its certificate is not trusted (behind a proxy that signs with its own: export REQUESTS_CA_BUNDLE=its.pem)"
        )
    if isinstance(error, exceptions.Timeout):
        return f"no answer in {timeout:g} s"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
