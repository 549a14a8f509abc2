#!/usr/bin/env bash
# bash tools/launch.sh train FOLDER [devices] [port] [key.sub=value or --option ...]
# bash tools/launch.sh eval  FOLDER [--option ...]
# What every experiment's train.sh and eval.sh call; FOLDER holds config.yaml. Everything after the numbers goes to
# semiseg.train or semiseg.evaluate as it is. One device needs no launcher, more than one run under MindSpore's msrun.
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit 2
}

tools="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
[ $# -ge 2 ] || fail "expected: launch.sh train|eval FOLDER [arguments...], got $# argument(s)"
action="$1"
[ -f "$2/config.yaml" ] || fail "$2/config.yaml: no such file; the folder must be an experiment"
folder="$(CDPATH='' cd -- "$2" && pwd -P)"
shift 2
case "$action" in
    train) module=semiseg.train ;;
    eval) module=semiseg.evaluate ;;
    *) fail "unknown action '$action': expected train or eval" ;;
esac

devices=1
port=0
if [ "$action" = train ] && [[ "${1:-}" =~ ^[0-9]+$ ]]; then
    devices=$((10#$1))
    shift
    [ "$devices" -ge 1 ] || fail "devices: expected 1 or more, got $devices"
    if [[ "${1:-}" =~ ^[0-9]+$ ]]; then
        port=$((10#$1))
        shift
        { [ "$port" -ge 1024 ] && [ "$port" -le 65535 ]; } || fail "port: expected 1024 to 65535, got $port"
    fi
fi

source "$tools/setup_env.sh"
setup_env
# A folder named semiseg where the user stands (another clone, say) must not win over this one. (Python 3.11 and newer.)
export PYTHONSAFEPATH=1
command=(-m "$module" --config "$folder/config.yaml" "$@")
[ "$devices" -gt 1 ] || exec "$SEMISEG_PYTHON" "${command[@]}"

# Binding tells whether a port is free, and port 0 finds one that is.
free="$("$SEMISEG_PYTHON" -c '
import socket, sys
with socket.socket() as listener:
    try:
        listener.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        sys.exit(1)
    print(listener.getsockname()[1])' "$port")" || fail "port $port is in use: name another, or none to have one found"
port="$free"
case "$folder" in
    "$SEMISEG_ROOT"/experiments/*) name="${folder#"$SEMISEG_ROOT"/experiments/}" ;;
    *) name="$(basename -- "$folder")" ;;
esac
logs="$SEMISEG_ROOT/ckpt/msrun_logs/$name/$(date +%Y%m%d-%H%M%S)-$port"
echo "$devices devices, port $port; below: process 0; logs of all: $logs" >&2
# msrun starts the workers with the first `python` on the PATH; its own warnings add nothing to the line above.
[ -x "${SEMISEG_PYTHON%/*}/python" ] || fail "several devices need a program named python beside $SEMISEG_PYTHON"
export PATH="${SEMISEG_PYTHON%/*}:$PATH" GLOG_v="${GLOG_v:-3}"
exec "$SEMISEG_PYTHON" -m mindspore.parallel.cluster.run \
    --worker_num="$devices" --local_worker_num="$devices" --master_addr=127.0.0.1 --master_port="$port" \
    --join=True --tail_worker_log=0 --log_dir="$logs" python "${command[@]}"
