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

# Several hosts: each runs this with its own SEMISEG_HOST, and the same port. (docs/distributed.md)
hosts=(--hosts "${SEMISEG_HOSTS:-1}" --host "${SEMISEG_HOST:-0}" --master "${SEMISEG_MASTER:-127.0.0.1}")
if [ "${SEMISEG_HOSTS:-1}" -gt 1 ]; then
    [ "$port" -gt 0 ] || fail "several hosts need a port: bash train.sh DEVICES PORT, the same on all"
    [ -n "${SEMISEG_MASTER:-}" ] || fail "SEMISEG_MASTER: expected the address of host 0, got nothing"
    [ $((devices % SEMISEG_HOSTS)) -eq 0 ] || fail "$devices devices cannot be shared equally by $SEMISEG_HOSTS hosts"
fi
# Binding tells whether a port is free, and port 0 finds one that is.
[ "${SEMISEG_HOST:-0}" -gt 0 ] || free="$("$SEMISEG_PYTHON" -c '
import socket, sys
with socket.socket() as listener:
    try:
        listener.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        sys.exit(1)
    print(listener.getsockname()[1])' "$port")" || fail "port $port is in use: name another, or none to have one found"
port="${free:-$port}"
case "$folder" in
    "$SEMISEG_ROOT"/experiments/*) name="${folder#"$SEMISEG_ROOT"/experiments/}" ;;
    *) name="$(basename -- "$folder")" ;;
esac
logs="$SEMISEG_ROOT/ckpt/msrun_logs/$name/$(date +%Y%m%d-%H%M%S)-$port"
echo "$devices devices, port $port; below: the first process here; logs of all: $logs" >&2
exec "$SEMISEG_PYTHON" "$tools/launch_devices.py" --devices "$devices" --port "$port" --logs "$logs" "${hosts[@]}" -- \
    "${command[@]}"
