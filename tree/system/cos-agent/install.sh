#!/bin/sh
# Installs the agent with the libraries that the distribution does not have, in a folder of its own.
set -eu

library=/usr/lib/cos/python

ls wheels/cos_toolkit-*.whl > /dev/null 2>&1 || {
    echo "error: there are no wheels here: 'make agent-wheels' makes them" >&2
    exit 1
}

# there NAME: whether the distribution has a library of this name.
there() {
    python3 -I -c 'import sys; from importlib.metadata import version; version(sys.argv[1])' "$1" 2> /dev/null
}

# A wheel without scripts is installed by unpacking it (binary distribution format, "Installing").
mkdir -p "$library"
for wheel in wheels/*.whl; do
    name=$(basename "$wheel" | cut -d - -f 1)
    if grep -q "^$name==" lacking.lock && there "$name"; then
        continue
    fi
    python3 -m zipfile -e "$wheel" "$library"
done

# The root is read-only, so Python could never write what it compiled. Without times in it: the same bytes each time.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0} python3 -m compileall -q --invalidation-mode unchecked-hash "$library"

install -D -m 0755 cos-agent.py /usr/bin/cos-agent
for name in cos-setup cos-installer cos-upgrade cos-reset cos-deploy cos-rebrand cos-feature suc-upgrade yip; do
    ln -sfn cos-agent "/usr/bin/$name"
done

# What was installed answers: a library that is missing is found here, not on a machine.
python3 -I -B check.py "$library"
cos-setup --help > /dev/null
echo '{stages: {check: [{commands: ["test -n {{ .Values.os.architecture | upper }}"]}]}}' | yip -s check -
