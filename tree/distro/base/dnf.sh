#!/bin/sh
# Installs the packages named as arguments with dnf: Fedora and its relatives.
# MIRROR, when set, is the base address that takes the place of the repositories' mirror lists.
set -eu

if [ -n "${MIRROR:-}" ]; then
    sed -Ei "s#^metalink=#\#&#; s#^\#?baseurl=https?://[^/]+/pub/fedora/linux#baseurl=$MIRROR#" /etc/yum.repos.d/*.repo
fi

dnf install --assumeyes --setopt=install_weak_deps=False --setopt=tsflags=nodocs "$@"
dnf clean all

rm -rf /var/cache/dnf /var/cache/libdnf5 /var/lib/dnf/history* /var/lib/rpm/__db* /var/lib/rpm/.rpm.lock
