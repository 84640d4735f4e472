#!/bin/sh
# Runs the benchmarks: bench/run.sh [--quick] [question ...]; see bench/README.md.
if ! command -v python3 >/dev/null; then
    echo "bench: skipped, the runner needs python3"
    exit 0
fi
exec python3 "$(dirname "$0")/run.py" "$@"
