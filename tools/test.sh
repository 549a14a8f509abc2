#!/usr/bin/env bash
# bash tools/test.sh [--parity] [pytest arguments...]
# Sets up what is missing, then runs the tests; --parity adds those that compare with PyTorch (a large download, once).
# The whole suite runs in a process a core, four at most (each takes up to 3 GB); chosen tests run in one.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

parity=no
arguments=()
processes=(--numprocesses auto --maxprocesses 4 --dist loadfile)
for argument in "$@"; do
    if [ "$argument" = --parity ]; then parity=yes; else arguments+=("$argument") processes=(); fi
done

if [ "$parity" = yes ]; then
    setup_env --parity
else
    setup_env
    echo "parity tests (against PyTorch) are skipped; to run them too: bash tools/test.sh --parity" >&2
    # Before the user's arguments: of two -m options pytest takes the last.
    arguments=(-m "not parity" ${arguments[@]+"${arguments[@]}"})
fi
cd "$SEMISEG_ROOT"
# An environment of one's own may lack pytest-xdist.
[ ${#processes[@]} = 0 ] || "$SEMISEG_PYTHON" -c "import xdist" >/dev/null 2>&1 || processes=()
exec "$SEMISEG_PYTHON" -m pytest ${processes[@]+"${processes[@]}"} ${arguments[@]+"${arguments[@]}"}
