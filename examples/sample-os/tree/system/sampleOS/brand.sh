#!/bin/sh
# Gives the system its name: in os-release(5), and in the greeting of the console.
set -eu

sed -i "s|^NAME=.*|NAME=\"Sample OS\"|; s|^ID=.*|ID=\"sampleos\"|; s|^ID_LIKE=.*|ID_LIKE=\"cos debian\"|
    s|^VERSION=.*|VERSION=\"$PACKAGE_VERSION\"|; s|^VERSION_ID=.*|VERSION_ID=\"$PACKAGE_VERSION\"|
    s|^PRETTY_NAME=.*|PRETTY_NAME=\"Sample OS v$PACKAGE_VERSION\"|" /etc/os-release
