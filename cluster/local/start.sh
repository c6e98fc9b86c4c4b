#!/usr/bin/env bash
# Starts a Ray head on this machine; `ray start` takes the arguments: cluster/local/start.sh --num-cpus 8
set -euo pipefail
source "$(dirname "$0")/node.sh"

[[ ! -e $folder/head.pid ]] || fail "a head was started already; end it first: cluster/local/stop.sh"
mkdir -p "$folder"
start_node head --head --port "$port" --dashboard-port "$dashboard_port" --ray-client-server-port $((port + 1)) "$@"
echo "export RAY_ADDRESS=127.0.0.1:$port RAY_API_SERVER_ADDRESS=http://127.0.0.1:$dashboard_port"
