#!/usr/bin/env bash
# run.sh OUT: what a GPU shows of this project, in under 25 minutes and without a network; docs/gpu.md (here README.md) says more.
# Each step's output is in OUT as soon as the step ends, or is cut off; OUT/summary.txt says at the end what came of it.
# PYTHON names another interpreter than python3. VJACCEL_REHEARSE=1 tries the steps on a machine without a GPU, in small sizes.
set -uo pipefail
[ $# -eq 1 ] || { echo "usage: run.sh OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) && mkdir -p "$1" && out=$(cd "$1" && pwd) && work=$(mktemp -d) && cd "$here" || exit 2
whole=1470  # seconds; some more may pass until what was told to stop has done so
python=${PYTHON:-python3}

export OUT=$out WORK=$work PYTHON=$python
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=$work/numba XDG_CACHE_HOME=$work/cache
export HF_HUB_OFFLINE=1 HF_HOME=$work/hub
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # three libraries share the device
unset PYTHONPATH

rm -f "$out"/*.{log,xml,json,tsv,txt,html}
date -u +%FT%TZ >"$out/started.txt"
: >"$out/steps.tsv"
if command -v nvidia-smi >/dev/null && nvidia-smi >"$out/nvidia-smi.txt" 2>&1; then
    # What is there must work: a backend that does not is then a failure, and no skipped test.
    export VJACCEL_REQUIRE_BACKENDS=torch:gpu,jax:gpu,cupy:gpu
else
    echo "no nvidia-smi, or it fails: tests that need a GPU are skipped" >>"$out/nvidia-smi.txt"
fi

finish() {
    "$python" summary.py "$out" | tee "$out/summary.txt"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# step NAME SECONDS: no longer than that, nor than what is left of the whole; how it ended goes to steps.tsv.
step() {
    local name=$1 limit=$2 began=$SECONDS code
    ((limit <= whole - began)) || limit=$((whole - began))
    echo "== $name, at most $limit s"
    if ((limit < 10)); then
        code="not run: no time was left"
    else
        # An interrupt, so that pytest writes down what it has; what was started in the background would ignore it otherwise.
        env --default-signal=INT timeout --signal=INT --kill-after=25 "$limit" bash steps.sh "$name" >"$out/$name.log" 2>&1
        code=$?
        case $code in
        0) code="done" ;;
        124 | 137) code="cut off after $limit s" ;;
        *) code="failed, exit code $code" ;;
        esac
    fi
    printf '%s\t%s\t%s\n' "$name" "$code" $((SECONDS - began)) >>"$out/steps.tsv"
    echo "   $code"
}

step install 90
step exactness 450
step search 270
step streaming 300
step embed 220
step report 150
! grep -qvE $'\tdone\t' "$out/steps.tsv"
