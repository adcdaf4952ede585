#!/bin/sh
# localize.sh LOCALE [KEYMAP]: the language, keyboard and time zone of the image, which a cloud-config may change with
# `systemd_firstboot`. They are files: set at every boot, they would have systemd read all its units again.
set -eu

echo "LANG=$1" > /etc/locale.conf
if [ -n "${2:-}" ]; then
    echo "KEYMAP=$2" > /etc/vconsole.conf
fi
ln -sfn ../usr/share/zoneinfo/UTC /etc/localtime
