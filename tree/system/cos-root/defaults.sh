#!/bin/sh
# Keeps a copy of every file of ours that makes a root boot: `cos-agent init` takes from it what another image lacks.
set -eu

folder=/usr/share/cos/defaults

for path in /etc/cos/bootargs.cfg /etc/cos/grub.cfg /etc/dracut.conf.d/*-cos-*.conf /system/oem/*.yaml \
    /system/features/*.yaml /usr/lib/dracut/modules.d/*cos-* /usr/lib/systemd/system/cos-* /usr/libexec/cos/* \
    /usr/bin/cos-* /usr/bin/suc-upgrade /usr/bin/yip; do
    if [ "$path" = /usr/bin/cos-agent ]; then
        continue
    fi
    mkdir -p "$folder${path%/*}"
    cp -a "$path" "$folder${path%/*}/"
done
