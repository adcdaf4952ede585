#!/bin/sh
# Decides what starts at boot: the stages, and the services named as arguments.
set -eu

systemctl set-default multi-user.target
systemctl enable cos-setup-rootfs.service cos-setup-initramfs.service cos-setup-fs.service \
    cos-setup-boot.service cos-setup-network.service cos-setup-reconcile.timer \
    cos-boot-assessment.service cos-boot-guard.timer
if [ -e /etc/systemd/system/tmp.mount ]; then
    systemctl enable tmp.mount
fi
for service in "$@"; do
    systemctl enable "$service"
done

# What keeps the packages of an installed distribution in order has nothing to do in an image.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    grub-common.service; do
    if [ -e "/usr/lib/systemd/system/$unit" ]; then
        systemctl disable "$unit"
    fi
done
