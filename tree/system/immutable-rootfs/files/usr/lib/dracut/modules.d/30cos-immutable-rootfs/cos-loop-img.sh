#!/bin/sh
# cos-loop-img IMAGE: finds the partition that holds IMAGE and attaches it to a loop device.
# Each label is tried once; a mark in /tmp remembers that.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

PATH=/usr/sbin:/usr/bin:/sbin:/bin
state=/run/initramfs/cos-state
image=$1
access=ro
getargbool 0 rd.cos.debugrw && access=rw

for label in COS_STATE COS_RECOVERY; do
    device=/dev/disk/by-label/$label
    [ -e "/tmp/cosloop-$label" ] && continue
    [ -e "$device" ] || continue
    : > "/tmp/cosloop-$label"
    mkdir -p "$state"
    # What a power cut left behind is mended while nobody looks: the mount replays the rest of the journal.
    [ "$(blkid -o value -s TYPE "$device")" != ext4 ] || e2fsck -p "$device" > /dev/kmsg 2>&1
    mount -t auto -o "$access" "$device" "$state" || continue
    if [ -f "$state/$image" ]; then
        if [ "$access" = ro ]; then
            losetup -r -f "$state/$image"
        else
            losetup -f "$state/$image"
        fi
        exit 0
    fi
    umount "$state"
done

exit 0
