#!/bin/sh
# lock.sh: pins what pyproject.toml asks for, in requirements.lock (to run) and requirements-dev.lock
# (to test and check besides). No index is named, so any mirror serves; versions already pinned stay.
set -eu

cd "$(dirname "$0")/.."
export CUSTOM_COMPILE_COMMAND="make lock"
flags="--quiet --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-trusted-host
    --no-emit-find-links --no-emit-options --no-annotate --resolver=backtracking"

# shellcheck disable=SC2086  # a list of words
.venv/bin/pip-compile $flags --build-deps-for editable --output-file requirements.lock pyproject.toml
# shellcheck disable=SC2086
.venv/bin/pip-compile $flags --extra test --extra dev --constraint requirements.lock \
    --output-file requirements-dev.lock pyproject.toml

# pip is there before it reads a lock file
sed -i '/^pip==/d; /^$/d; /^# The following packages are considered/d' requirements.lock requirements-dev.lock
