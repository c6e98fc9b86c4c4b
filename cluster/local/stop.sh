#!/usr/bin/env bash
# Ends the nodes of start.sh and nodes.sh, the head last, and no other Ray on this machine.
set -euo pipefail
source "$(dirname "$0")/node.sh"

for file in "$folder"/node*.pid "$folder"/head.pid; do
    [[ ! -e $file ]] || end_node "$file"
done
rm -rf "$folder"
