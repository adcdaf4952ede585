#!/bin/sh
# agent-wheels.sh FOLDER: puts the wheels of the agent into FOLDER: that of this checkout, and the libraries
# that wheels.lock and lacking.lock beside FOLDER name. What is there already and is the same stays untouched.
set -eu

cd "$(dirname "$0")/.."
folder=$1
locks=$(dirname "$folder")
mkdir -p "$folder"
scratch=$(mktemp -d "$folder/.new-XXXXXX")
trap 'rm -rf "$scratch"' EXIT INT TERM

pip() {
    .venv/bin/pip --quiet --disable-pip-version-check "$@"
}

# Times of a fixed day in the archive, so that the same sources give the same bytes.
SOURCE_DATE_EPOCH=1600000000 pip wheel --no-deps --no-build-isolation --wheel-dir "$scratch" .

# fetch LOCK FLAG…: gets the wheels that a lock file names.
fetch() {
    lock=$1
    shift
    pip download --no-deps --only-binary :all: --require-hashes --requirement "$locks/$lock" --dest "$scratch" "$@"
}

stamp=$(cat "$locks/wheels.lock" "$locks/lacking.lock" | sha256sum)
if [ "$(cat "$folder/.lock" 2> /dev/null)" = "$stamp" ]; then
    find "$folder" -maxdepth 1 -name '*.whl' -not -name 'cos_toolkit-*' -exec cp -p '{}' "$scratch" ';'
else
    fetch wheels.lock
    # Not for the Python that runs here, but for that of the distributions that lack a library.
    fetch lacking.lock --python-version 3.13 --implementation cp --abi cp313 --abi none \
        --platform manylinux2014_x86_64 --platform any
fi

for wheel in "$folder"/*.whl; do
    [ -e "$scratch/$(basename "$wheel")" ] || rm -f "$wheel"
done
for wheel in "$scratch"/*.whl; do
    cmp --silent "$wheel" "$folder/$(basename "$wheel")" || mv "$wheel" "$folder"
done
echo "$stamp" > "$folder/.lock"
