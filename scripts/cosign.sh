#!/bin/sh
# cosign.sh FOLDER: has Debian trixie's `cosign` in FOLDER, for the tests, and prints its path. Where there is no
# apt, the `cosign` of the machine has to do.
set -eu

if command -v apt-get > /dev/null; then
    files=$("$(dirname "$0")/debian-files.sh" "$1" "$(dpkg --print-architecture)" cosign)
    echo "$files/usr/bin/cosign"
else
    command -v cosign || { echo "error: the program 'cosign' is missing" >&2; exit 1; }
fi
