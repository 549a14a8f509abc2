#!/usr/bin/env bash
# bash tools/test_oldest.sh [pytest arguments...]
# The tests with the oldest MindSpore that requirements.txt allows (Ascend users are tied to what their CANN takes), in
# an environment of its own, .venv-oldest. Those that compare with PyTorch are left out.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

oldest="$(sed -n 's/^mindspore>=\([0-9.]*\),.*/\1/p' "$SEMISEG_ROOT/requirements.txt")"
[ -n "$oldest" ] || { _error "requirements.txt: expected a line mindspore>=OLDEST,<NEXT"; exit 2; }
SEMISEG_VENV="$SEMISEG_ROOT/.venv-oldest"
_make_venv
cd "$SEMISEG_ROOT"
pin="$SEMISEG_VENV/constraints.txt"
{ cat constraints.txt && echo "mindspore==$oldest.0"; } >"$pin"
"$SEMISEG_VENV/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -c "$pin" -e ".[test]" \
    </dev/null >&2 || { _error "pip could not fill $SEMISEG_VENV (the reason stands above)"; exit 2; }
rm -f "$SEMISEG_VENV/.semiseg-unfinished"
export SEMISEG_PYTHON="$SEMISEG_VENV/bin/python"
exec "$SEMISEG_PYTHON" -m pytest -m "not parity" "$@"
