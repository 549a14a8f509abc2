#!/usr/bin/env bash
# The Python that this repository's scripts run: SEMISEG_PYTHON where it is set (an environment of your own that has
# semiseg installed), else .venv in the clone, which is made, filled and mended here and reused while nothing changed.
#   bash tools/setup_env.sh [--parity]                   set up only; --parity adds PyTorch, for the tests against it
#   source tools/setup_env.sh; setup_env [--parity]      sets and exports SEMISEG_PYTHON; status 2 after an error
# PYTHON=/path/to/python3.11 names the interpreter that .venv is made with.

SEMISEG_ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
SEMISEG_VENV="$SEMISEG_ROOT/.venv"

_say() { echo "$*" >&2; }

_error() {
    echo "error: $*" >&2
    return 2
}

_SEMISEG_FITS="SemiSeg needs CPython 3.10, 3.11 or 3.12"

# _probe PYTHON: prints the version, or nothing where it does not run (a pyenv shim may exist and fail). Status 0: fits;
# 3: another version; 4: without the modules that make a virtual environment; anything else: does not run.
_probe() {
    "$1" -c '
import sys
print("%d.%d.%d" % sys.version_info[:3])
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)' 2>/dev/null </dev/null
}

# _find_python: prints the path of the first Python that fits.
_find_python() {
    local name path version status found="" candidates=(python3.12 python3.11 python3.10 python3 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for name in "${candidates[@]}"; do
        while IFS= read -r path; do
            version="$(_probe "$path")" && status=0 || status=$?
            case "$status" in
                0) echo "$path" && return 0 ;;
                3) found="$found, $path ($version)" ;;
                4) found="$found, $path ($version without venv: install python${version%.*}-venv)" ;;
                *) found="$found, $path (does not run)" ;;
            esac
        done < <(type -ap -- "$name")
    done
    found="${found#, }"
    if [ -n "${PYTHON:-}" ]; then
        _error "PYTHON=$PYTHON does not fit: $_SEMISEG_FITS; found ${found:-no such program}"
    else
        found="${found:-none}; install one or name it: PYTHON=/path/to/python3.11"
        _error "no Python fits: $_SEMISEG_FITS; found $found"
    fi
}

# _inputs: what the installed state depends on, as one line. The path is part of it: an editable install names it.
_inputs() {
    local files version
    version="$(_probe "$SEMISEG_VENV/bin/python")" || [ $? = 4 ] || return 1
    files="$(cd "$SEMISEG_ROOT" && cat requirements.txt constraints.txt pyproject.toml setup.py | cksum)" || return 1
    echo "files=${files// /-} python=$version root=$SEMISEG_ROOT"
}

# _is_ready EXTRAS: .venv holds what the files ask for now; PyTorch beyond that does no harm.
_is_ready() {
    local stamp="$SEMISEG_VENV/.semiseg-stamp" inputs extras
    [ -f "$stamp" ] && [ -x "$SEMISEG_VENV/bin/python" ] || return 1
    { IFS= read -r inputs && IFS= read -r extras; } <"$stamp" || return 1
    [ "$inputs" = "$(_inputs)" ] || return 1
    case "$extras" in "$1" | "$1",*) return 0 ;; *) return 1 ;; esac
}

# _make_venv: a .venv with pip. One that runs is kept, whoever made it; one that does not, or whose first filling was
# cut short, is made anew.
_make_venv() {
    local version status python unfinished="$SEMISEG_VENV/.semiseg-unfinished"
    if [ -e "$SEMISEG_VENV" ] && [ ! -e "$unfinished" ]; then
        version="$(_probe "$SEMISEG_VENV/bin/python")" && status=0 || status=$?
        if [ "$status" = 3 ]; then
            _error "$SEMISEG_VENV has Python $version: $_SEMISEG_FITS; remove the folder and run again"
            return
        elif [ "$status" = 0 ] || [ "$status" = 4 ]; then
            _say "bringing .venv up to date"
            "$SEMISEG_VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
                "$SEMISEG_VENV/bin/python" -m ensurepip >/dev/null ||
                _error "$SEMISEG_VENV has no pip and none can be put there; remove the folder and run again"
            return
        fi
    fi
    python="$(_find_python)" || return 2
    _say "setting up .venv with $python, once: about 2 minutes and 3 GB"
    rm -rf "$SEMISEG_VENV"
    { mkdir "$SEMISEG_VENV" && touch "$unfinished" && "$python" -m venv "$SEMISEG_VENV" >&2; } ||
        _error "cannot make $SEMISEG_VENV (the reason stands above)"
}

# _install EXTRAS: brings .venv to the state that the stamp then vouches for.
_install() {
    local extras="$1" inputs stamp="$SEMISEG_VENV/.semiseg-stamp"
    # Who once asked for PyTorch keeps it in step with the constraints.
    [ -f "$stamp" ] && grep -q parity "$stamp" && extras=test,parity
    _make_venv && rm -f "$stamp" && inputs="$(_inputs)" || return 2
    [ "$extras" = test ] || _say "with PyTorch, for the parity tests: a large download, once"
    (cd "$SEMISEG_ROOT" && "$SEMISEG_VENV/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        -c constraints.txt -e ".[$extras]" </dev/null >&2) ||
        { _error "pip could not fill .venv (the reason stands above); run the same command again to go on"; return; }
    printf '%s\n' "$inputs" "$extras" >"$stamp.new" && mv "$stamp.new" "$stamp" &&
        rm -f "$SEMISEG_VENV/.semiseg-unfinished"
}

# _install_alone EXTRAS: one set-up at a time in a clone; who waited finds the work done. The lock is on a file that is
# there anyway and is opened without being changed.
_install_alone() (
    if command -v flock >/dev/null; then
        exec 9<>"$SEMISEG_ROOT/constraints.txt" || return 2
        flock -n 9 || { _say "waiting for another set-up of this clone to end" && flock 9; }
    fi
    _is_ready "$1" || _install "$1"
)

# _use_own PYTHON: the user's environment instead of .venv. From / , so that the clone itself does not answer.
_use_own() {
    local path
    path="$(type -P -- "$1")" || { _error "SEMISEG_PYTHON=$1: no such program"; return; }
    case "$path" in /*) ;; *) path="$PWD/$path" ;; esac
    (cd / && "$path" -c 'import semiseg' >/dev/null 2>&1 </dev/null) || {
        _error "SEMISEG_PYTHON=$1 cannot import semiseg: pip install -c constraints.txt -e . there, or unset it"
        return
    }
    export SEMISEG_PYTHON="$path"
}

# _note_other_python: PYTHON is read when .venv is made, so say when it asks for something else than what is there.
_note_other_python() {
    local asked here
    { asked="$(_probe "$PYTHON")" && here="$(_probe "$SEMISEG_VENV/bin/python")"; } || return 0
    [ "${asked%.*}" = "${here%.*}" ] ||
        _say "note: .venv has Python $here, PYTHON=$PYTHON is $asked: to change, remove $SEMISEG_VENV"
}

setup_env() {
    local extras=test
    case "${1:-}" in
        "") ;;
        --parity) extras=test,parity ;;
        *) _error "setup_env: unknown argument '$1': expected --parity or nothing" || return ;;
    esac
    if [ -n "${SEMISEG_PYTHON:-}" ]; then
        _use_own "$SEMISEG_PYTHON"
        return
    fi
    _is_ready "$extras" || _install_alone "$extras" || return 2
    [ -z "${PYTHON:-}" ] || _note_other_python
    export SEMISEG_PYTHON="$SEMISEG_VENV/bin/python"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    setup_env "$@" || exit 2
    _say "ready: $SEMISEG_PYTHON"
fi
