#!/bin/sh
# debian-files.sh FOLDER ARCHITECTURE PACKAGE…: has what is in PACKAGE… of Debian trixie for some processors in a
# folder below FOLDER, for the tests, and prints its path. The packages are fetched and checked by apt, and unpacked;
# nothing is installed, and the machine's own sources of packages stay as they are.
set -eu

suite=trixie
mkdir -p "$1"
folder=$(cd "$1" && pwd -P)
architecture=$2
shift 2
files=$folder/$suite-$architecture-$(echo "$@" | cksum | cut -d ' ' -f 1)

# The mirror of the machine's own sources of packages: its distribution's, where that is Debian.
mirror() {
    own=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2> /dev/null \
        | sed -n 's|^Debian \(.*/debian/\)$|\1|p' | head -n 1)
    echo "${own:-http://deb.debian.org/debian}"
}

# apt PROGRAM ARGUMENT…: a program of apt with state of its own, for the other processors.
apt() {
    program=$1
    shift
    "$program" --quiet --quiet -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" \
        -o Dir::State::status=/dev/null -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" \
        -o "Dir::Etc::sourcelist=$work/debian.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

exec 9> "$files.lock"
flock 9
if [ ! -d "$files" ]; then
    echo "setup: fetching $* of Debian $suite for $architecture" >&2
    work=$(mktemp -d "$folder/debian.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/content"
    printf '%s\n' 'Types: deb' "URIs: $(mirror)" "Suites: $suite" 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' > "$work/debian.sources"
    apt apt-get update >&2
    for name in "$@"; do
        # `linux-image-cloud-arm64` and the like are empty, and need the newest kernel.
        kernel=$(apt apt-cache show "$name" | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | head -n 1)
        (cd "$work" && apt apt-get download "${kernel:-$name}" >&2)
    done
    for each in "$work"/*.deb; do
        dpkg-deb -x "$each" "$work/content"
    done
    mv "$work/content" "$files"
fi
echo "$files"
