#!/bin/sh
# cosign.sh FOLDER: has Debian trixie's `cosign` in FOLDER, for the tests, and prints its path. It is taken
# out of its package, which apt fetches and checks; nothing is installed, and the machine's own sources of
# packages stay as they are. Where there is no apt, the `cosign` of the machine has to do.
set -eu

suite=trixie
mkdir -p "$1"
folder=$(cd "$1" && pwd -P)
program=$folder/cosign-$suite

# The mirror of the machine's own sources of packages: its distribution's, where that is Debian.
mirror() {
    own=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2> /dev/null \
        | sed -n 's|^Debian \(.*/debian/\)$|\1|p' | head -n 1)
    echo "${own:-http://deb.debian.org/debian}"
}

# apt ARGUMENT…: apt-get with state of its own.
apt() {
    apt-get --quiet --quiet -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" \
        -o "Dir::Etc::sourcelist=$work/debian.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

if [ ! -x "$program" ] && ! command -v apt-get > /dev/null; then
    command -v cosign || { echo "error: the program 'cosign' is missing" >&2; exit 1; }
    exit 0
fi

exec 9> "$folder/cosign.lock"
flock 9
if [ ! -x "$program" ]; then
    echo "setup: fetching the cosign program of Debian $suite" >&2
    work=$(mktemp -d "$folder/cosign.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    printf '%s\n' 'Types: deb' "URIs: $(mirror)" "Suites: $suite" 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' > "$work/debian.sources"
    apt update >&2
    (cd "$work" && apt download cosign >&2)
    dpkg-deb -x "$work"/cosign_*.deb "$work/content"
    mv "$work/content/usr/bin/cosign" "$program"
fi
echo "$program"
