#!/bin/sh
# virtualenv.sh LOCK…: makes .venv with exactly what the LOCK files name, and this checkout in it. It does
# nothing when that was done before, for the same files, at the same path and with the same Python.
set -eu

cd "$(dirname "$0")/.."
stamp=.venv/.cos-setup
state="$(pwd -P) $(python3 -c 'import sys; print(sys.version, sys.base_prefix)' | tr '\n' ' ') $* $(cat pyproject.toml "$@" | sha256sum)"

compile_ours() {
    # Start-up: our own modules are compiled once here, even where Python is told to write no .pyc files.
    [ ! -x .venv/bin/python ] || env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m compileall -q compiler
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then
    compile_ours
    exit 0
fi

# An environment knows its own path, so one that came with a moved or copied checkout is of no use.
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2> /dev/null \
    || [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)')" != "$(pwd -P)/.venv" ] \
    || ! head -n 1 .venv/bin/pip | grep -qF "$(pwd -P)/.venv/"; then
    echo "setup: making .venv"
    rm -rf .venv
    python3 -m venv .venv
fi

echo "setup: installing into .venv what $* name"
requirements=""
for lock in "$@"; do requirements="$requirements --requirement $lock"; done
# shellcheck disable=SC2086  # a list of words
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps $requirements
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
compile_ours
echo "$state" > "$stamp"
