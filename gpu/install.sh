#!/usr/bin/env bash
# install.sh VENV: this bundle's wheels in an environment of its own, offline. It sees the machine's libraries, and changes none.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: install.sh VENV" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
"$python" -m venv --system-site-packages --without-pip "$1"
# A python that is itself a virtual environment's: its libraries are not the system's, which is all that the flag gives.
"$python" - "$1" <<'END'
import pathlib, site, sys, sysconfig
if sys.prefix != sys.base_prefix:
    (there,) = pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages")
    (there / "machine.pth").write_text("\n".join(site.getsitepackages()) + "\n")
END
pip() { PIP_CONFIG_FILE=/dev/null "$1/bin/python" "$(echo "$here"/wheels/pip-*.whl)/pip" --isolated --disable-pip-version-check \
        install --no-index --find-links "$here/wheels" "${@:2}"; }
# Whatever version of it the machine may have, this one.
pip "$1" --no-deps --ignore-installed "$here"/wheels/vjaccel-*.whl
pip "$1" 'vjaccel[io,local]' || {
    echo "The machine's own versions do not agree with each other, or not with this project: going on with what is there."
    others=()
    for wheel in "$here"/wheels/*.whl; do
        case ${wheel##*/} in pip-*|vjaccel-*) ;; *) others+=("$wheel") ;; esac
    done
    pip "$1" --no-deps "${others[@]}"
}
"$1/bin/vjaccel" --version
