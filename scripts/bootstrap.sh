#!/bin/sh
# Puts uv, which installs the rest, into the directory named: sh scripts/bootstrap.sh .tools
set -eu

directory=$1
wanted="uv==0.13.9"

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

python=
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
        # Not a shim nor an activated environment's, which may be gone tomorrow.
        python=$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>/dev/null || echo "no python3")
    echo "Could not install: Python 3.11, 3.12 or 3.13 is needed, and there is $found. Install one of them, then call make again." >&2
    exit 1
fi
if ! command -v git >/dev/null 2>&1; then
    echo "Could not install: git is needed and is not there. Install it, then call make again." >&2
    exit 1
fi

rm -rf "$directory"
if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$wanted"
    rm -f "$directory/python"
elif "$python" -m pip --version >/dev/null 2>&1; then
    # No ensurepip (Debian without python3-venv), but a pip: it installs to any directory.
    "$python" -m pip install --quiet --disable-pip-version-check --target "$directory" "$wanted"
else
    echo "Could not install: $python has neither venv nor pip. Install them (Debian, Ubuntu: apt-get install python3-venv), then call make again." >&2
    exit 1
fi
ln -sf "$python" "$directory/python"
touch "$directory/bin/uv"
