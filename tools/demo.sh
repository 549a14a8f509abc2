#!/usr/bin/env bash
# bash tools/demo.sh: semi-supervised beside supervised training, from nothing, in minutes on two CPU cores.
# Makes the synthetic data, trains `suponly` and `ours` on the same 16 labelled images with the same number of steps,
# scores both with their eval.sh, prints a table and draws a picture. Run again it reuses what is finished.
set -euo pipefail

tools="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
source "$tools/setup_env.sh"
setup_env
export SEMISEG_PYTHON PYTHONSAFEPATH=1
root="$SEMISEG_ROOT"
demo="$root/ckpt/demo"
split=16

"$SEMISEG_PYTHON" "$tools/make_synthetic.py"
mkdir -p "$demo"
for method in suponly ours; do
    leaf="$root/experiments/synthetic/$split/$method"
    echo
    echo "== $method: training on $split labelled images"
    started=$SECONDS
    bash "$leaf/train.sh" saver.main_dir="$demo/$method"
    # A run that was finished before takes a second: its first time stands.
    [ -f "$demo/$method/seconds" ] || echo $((SECONDS - started)) > "$demo/$method/seconds"
    echo "== $method: evaluation"
    rm -rf "$demo/$method/predictions"
    bash "$leaf/eval.sh" saver.main_dir="$demo/$method" --save "$demo/$method/predictions" --json "$demo/$method/scores.json"
done
echo
exec "$SEMISEG_PYTHON" "$tools/demo_report.py" "$demo" "$root/data/synthetic"
