#!/usr/bin/env bash
here="$(dirname "${BASH_SOURCE[0]}")" && exec bash "$here/../../../../tools/launch.sh" eval "$here" "$@"
