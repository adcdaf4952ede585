#!/bin/sh
# Makes the initrd of the kernel that /boot/vmlinuz points to, the same bytes each time.
set -eu

kernel=$(readlink /boot/vmlinuz)
kernel=${kernel#vmlinuz-}

dracut --force --no-hostonly --no-hostonly-cmdline --reproducible --kver "$kernel" "/boot/initrd-$kernel"
chmod 0644 "/boot/initrd-$kernel"
ln -sfn "initrd-$kernel" /boot/initrd

rm -rf /var/tmp/dracut.* /var/log/dracut.log /var/cache/ldconfig/aux-cache
