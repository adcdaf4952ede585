#!/bin/sh
# cos-loop-img IMAGE [any]: finds the partition that holds IMAGE and attaches it to a loop device.
# The boot menu says which partition that is (cos-img/uuid=); if it does not, or the partition has not come when the
# waiting ends (`any`), labels say it. Each is tried once; a mark in /tmp remembers that.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

PATH=/usr/sbin:/usr/bin:/sbin:/bin
state=/run/initramfs/cos-state
image=$1
access=ro
getargbool 0 rd.cos.debugrw && access=rw

state_label=$(getarg rd.cos.statelabel=)
recovery_label=$(getarg rd.cos.recoverylabel=)
identity=$(getarg cos-img/uuid=)
names="by-label/${state_label:-COS_STATE} by-label/${recovery_label:-COS_RECOVERY}"
if [ -n "$identity" ]; then
    [ "${2:-}" = any ] || names=
    names="by-uuid/$identity $names"
fi

mountpoint -q "$state" && exit 0
for name in $names; do
    device=/dev/disk/$name
    mark=/tmp/cosloop-${name#*/}
    [ -e "$mark" ] && continue
    [ -e "$device" ] || continue
    : > "$mark"
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
