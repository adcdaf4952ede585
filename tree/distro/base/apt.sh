#!/bin/sh
# Installs the packages named as arguments with apt: Debian, and what descends from it.
# MIRROR, when set, takes the place of the addresses that the image's own sources name.
set -eu

export DEBIAN_FRONTEND=noninteractive

if [ -n "${MIRROR:-}" ]; then
    find /etc/apt/sources.list /etc/apt/sources.list.d -type f \
        -exec sed -Ei "s#https?://[^ ]*/(debian|ubuntu)(/? |/?\$)#$MIRROR\2#" {} + 2>/dev/null || true
fi

# A container that is lost halfway is thrown away, so dpkg need not flush every file to the disk.
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/unsafe-io

# The kernel's hooks make no initrd (INITRD): system/cos makes the one that is shipped.
apt-get update
INITRD=No apt-get install --yes --no-install-recommends "$@"
apt-get clean

rm -rf /etc/dpkg/dpkg.cfg.d/unsafe-io /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old \
    /var/lib/dpkg/*-old /var/backups/*
