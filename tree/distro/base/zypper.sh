#!/bin/sh
# Installs the packages named as arguments with zypper: openSUSE and SUSE Linux.
# MIRROR, when set, takes the place of the address that the image's own repositories name.
set -eu

if [ -n "${MIRROR:-}" ]; then
    sed -Ei "s#https?://[^/]*opensuse\.org#$MIRROR#" /etc/zypp/repos.d/*.repo
fi

zypper --non-interactive --gpg-auto-import-keys install --no-recommends "$@"
zypper clean --all

rm -rf /var/cache/zypp /var/lib/zypp/AnonymousUniqueId /var/lib/zypp/LastDistributionFlavor
