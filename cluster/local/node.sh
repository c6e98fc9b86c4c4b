# What start.sh, nodes.sh and stop.sh share. Each node is a `ray start --block` in a session of its own, whose id is in
# <name>.pid of the folder, so that stop.sh finds all that was started and nothing else.
port=${CLI_RAY_PORT:-6379}
dashboard_port=${CLI_RAY_DASHBOARD_PORT:-8265}
# Short, because the paths of sockets in it are at most 107 bytes long.
folder=${CLI_RAY_FOLDER:-/tmp/cli-ray-$UID-$port}
start_s=120
stop_s=20

export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
# Nodes are ended together, so that there is nobody to hand work to.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0

fail() {
    echo "$1" >&2
    exit 1
}

# Starts a node and waits until it is up: its name, then arguments of `ray start`. The system picks the ports that all
# nodes would share. Each has a folder of its own, for in a shared one they unpack the working directory of a job anew
# under the feet of the others.
start_node() {
    local name=$1 deadline=$((SECONDS + start_s)) log="$folder/$1.log" pid
    shift
    setsid ray start --block --node-name "$name" --temp-dir "$folder/$name" --disable-usage-stats \
        --dashboard-agent-listen-port 0 --min-worker-port 0 --max-worker-port 0 "$@" </dev/null >"$log" 2>&1 &
    pid=$!
    echo "$pid" >"$folder/$name.pid"
    until grep -q "Ray runtime started" "$log"; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS >= deadline)); then
            fail "$(tail -n 20 "$log")"$'\n'"$name did not start; clean up: cluster/local/stop.sh"
        fi
        sleep 0.2
    done
    echo "$name is up"
}

# Ends a node and what is left of its session.
end_node() {
    local session deadline=$((SECONDS + stop_s))
    session=$(<"$1")
    pkill -TERM --pidfile "$1" || true
    while pgrep --session "$session" >/dev/null; do
        ((SECONDS < deadline)) || pkill -KILL --session "$session" || true
        sleep 0.2
    done
    rm "$1"
}
