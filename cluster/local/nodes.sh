#!/usr/bin/env bash
# Adds N Ray nodes to the head of start.sh; `ray start` takes the other arguments: cluster/local/nodes.sh 2 --num-cpus 4
set -euo pipefail
source "$(dirname "$0")/node.sh"

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || fail "the first argument is the number of nodes: cluster/local/nodes.sh 2"
[[ -e $folder/head.pid ]] || fail "no head was started; start it first: cluster/local/start.sh"
count=$1
shift
started=("$folder"/*.pid)
# One after another: nodes that start at the same time pick the same names for their sockets.
for ((i = 0; i < count; i++)); do
    start_node "node$((${#started[@]} + i))" --address "127.0.0.1:$port" "$@"
done
