#!/usr/bin/env bash
# steps.sh NAME: one step of run.sh, which sets OUT, WORK and PYTHON.
set -uo pipefail
bin=$WORK/venv/bin
small=${VJACCEL_REHEARSE:-0}

# pytest NAME OPTIONS...: results in OUT/NAME.xml. A warning of a library that is newer than those tested is no failure here.
pytest() {
    env --default-signal=INT PYTHONPATH=. "$bin/python" -m pytest -p run_plugin -v --tb=short -W default --junitxml="$OUT/$1.xml" \
        -o junit_logging=no --basetemp="$WORK/pytest-$1" --continue-on-collection-errors "${@:2}"
}

# benchmarks NAME FILES...: raw rounds in OUT/NAME.json, and a table of them.
benchmarks() {
    # Without a GPU there is nothing to measure; that the benchmarks run can be seen all the same.
    [ "$small" = 1 ] && export VJACCEL_GPU_SPECS=torch:cpu,jax:cpu
    pytest "$1" --benchmark-enable --benchmark-only --benchmark-json="$OUT/$1.json" "${@:2}"
    local code=$?
    [ ! -s "$OUT/$1.json" ] || COLUMNS=200 "$bin/python" benchmarks/ratios.py "$OUT/$1.json"
    return $code
}

# Several processes at once: a library each, and several for JAX, which compiles every shape that it meets.
exactness() {
    local group name which parts part pid code=0 pids=() groups of files
    groups=("torch|torch and not jax and not cupy|1" "cupy|cupy and not jax|1" "others|not torch and not jax and not cupy|1"
            "jax|jax|6" "embedding||1")
    [ "$small" = 1 ] && groups=("others|not jax|1" "jax|jax|1" "embedding||1")
    trap : INT  # which the processes get too: they are waited for
    for group in "${groups[@]}"; do
        IFS='|' read -r name which parts <<<"$group"
        # What imports sentence-transformers apart: without it the others still run.
        files=(tests/gpu tests/unit/backends)
        [ "$name" = embedding ] && files=(tests/unit/embedding)
        of=$parts
        [ "$small" = 1 ] && [ "$name" != embedding ] && of=50  # all are skipped: some show that as well
        for ((part = 1; part <= parts; part++)); do
            VJACCEL_TEST_PART=$part/$of pytest "exactness-$name-$part" -m gpu -k "$which" \
                --ignore=tests/gpu/test_gpu_memory.py --ignore=tests/gpu/test_gpu_sizes.py "${files[@]}" >"$OUT/exactness-$name-$part.log" 2>&1 &
            pids+=($!)
        done
    done
    for pid in "${pids[@]}"; do
        while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done  # an interrupt ends a wait, not the process
        wait "$pid" || code=1
    done
    for name in "$OUT"/exactness-*.log; do echo "${name##*/}: $(tail -n 1 "$name")"; done
    return $code
}

case $1 in
install)
    ./install.sh "$WORK/venv" && "$bin/vjaccel" backends --json >"$OUT/backends.json"
    code=$?
    "$bin/python" -c 'from importlib.metadata import distributions as d
print("\n".join(sorted({f"{x.name} {x.version}" for x in d()})))' >"$OUT/versions.txt"
    exit $code
    ;;
exactness)
    exactness
    ;;
search)
    benchmarks search benchmarks/test_gpu_search.py
    ;;
streaming)
    # Alone on the device, for they need much of it; JAX gives back at once what it no longer needs.
    code=0
    pytest memory -m gpu tests/gpu/test_gpu_memory.py || code=1
    XLA_PYTHON_CLIENT_ALLOCATOR=platform pytest sizes -m gpu tests/gpu/test_gpu_sizes.py || code=1
    benchmarks streaming benchmarks/test_gpu_streaming.py || code=1
    exit $code
    ;;
embed)
    benchmarks embed benchmarks/test_gpu_embed.py
    ;;
report)
    # Random weights under the name that the command asks for: the speed is that model's, what it finds is not.
    "$bin/python" benchmarks/made_models.py "$HF_HOME/hub"
    sizes=(--budget 110)
    [ "$small" = 1 ] && sizes=(--budget 10 --sizes small --ops normalize)
    exec "$bin/vjaccel" bench --embed "${sizes[@]}" -o "$OUT/report.html"
    ;;
*)
    echo "steps.sh: there is no step $1" >&2
    exit 2
    ;;
esac
