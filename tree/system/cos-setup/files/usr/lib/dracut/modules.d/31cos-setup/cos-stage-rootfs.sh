#!/bin/sh
# cos-stage-rootfs: runs the stage `rootfs` with the programs of the root that was mounted at /sysroot. What it
# writes goes to the initrd: to /run and /oem, or to an overlay that is thrown away, as the initrd itself is.
set -u

root=/run/cos-stage/root
overlay=/run/cos-stage/overlay

# The overlay is below /run, which is bound into it: a private copy of the mounts ends that circle.
take_away() {
    mount --make-rprivate "$root"
    umount --recursive --lazy "$root"
    rm -rf /run/cos-stage
}

mkdir -p "$root" "$overlay/upper" "$overlay/work" /oem
mount -t overlay -o "lowerdir=/sysroot,upperdir=$overlay/upper,workdir=$overlay/work" overlay "$root" || exit 1
trap take_away EXIT

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
