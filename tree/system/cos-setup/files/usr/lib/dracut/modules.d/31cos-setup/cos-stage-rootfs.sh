#!/bin/sh
# cos-stage-rootfs: runs the stage `rootfs` with the programs of the root that was mounted at /sysroot. What it
# writes goes to the initrd: to /run and /oem, or to an overlay that is thrown away, as the initrd itself is.
set -u

scratch=/run/cos-stage
root=$scratch/root

# Of the mounts of the stage's root nobody else hears, systemd above all, which would make a unit of each. They are
# in a name space that ends with the stage; what the stage itself mounts, in /sysroot or /run, is for all.
if [ "${1:-}" != apart ]; then
    mkdir -p "$scratch" /oem
    unshare --mount --propagation unchanged "$0" apart
    code=$?
    umount "$scratch" && rmdir "$scratch"
    exit "$code"
fi

mount -t tmpfs stage "$scratch" && mount --make-private "$scratch" || exit 1
mkdir "$root" "$scratch/upper" "$scratch/work"
mount -t overlay -o "lowerdir=/sysroot,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root" || exit 1

mkdir -p "$root/sysroot" "$root/oem"
for folder in dev proc sys run oem sysroot; do
    mkdir -p "$root/$folder"
    mount --rbind "/$folder" "$root/$folder"
done
# A link to a file of the running system, which nobody writes yet, would leave the stage without names.
if [ -e /etc/resolv.conf ]; then
    rm -f "$root/etc/resolv.conf"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
fi

chroot "$root" /usr/bin/cos-setup rootfs
