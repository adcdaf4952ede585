#!/bin/sh
# agent-wheels.sh FOLDER: puts the wheels of the agent into FOLDER: that of this checkout, and the libraries
# that wheels.lock beside FOLDER names. What is there already and is the same stays untouched.
set -eu

cd "$(dirname "$0")/.."
folder=$1
lock=$(dirname "$folder")/wheels.lock
mkdir -p "$folder"
scratch=$(mktemp -d "$folder/.new-XXXXXX")
trap 'rm -rf "$scratch"' EXIT INT TERM

pip() {
    .venv/bin/pip --quiet --disable-pip-version-check "$@"
}

# Times of a fixed day in the archive, so that the same sources give the same bytes.
SOURCE_DATE_EPOCH=1600000000 pip wheel --no-deps --no-build-isolation --wheel-dir "$scratch" .

stamp=$(sha256sum < "$lock")
if [ "$(cat "$folder/.lock" 2> /dev/null)" = "$stamp" ]; then
    find "$folder" -maxdepth 1 -name '*.whl' -not -name 'cos_toolkit-*' -exec cp -p '{}' "$scratch" ';'
else
    pip download --no-deps --only-binary :all: --require-hashes --requirement "$lock" --dest "$scratch"
fi

for wheel in "$folder"/*.whl; do
    [ -e "$scratch/$(basename "$wheel")" ] || rm -f "$wheel"
done
for wheel in "$scratch"/*.whl; do
    cmp --silent "$wheel" "$folder/$(basename "$wheel")" || mv "$wheel" "$folder"
done
echo "$stamp" > "$folder/.lock"
