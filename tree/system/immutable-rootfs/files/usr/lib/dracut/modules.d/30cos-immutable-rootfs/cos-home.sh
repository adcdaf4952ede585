#!/bin/sh
# cos-home: the disk that was booted, which is the one with the image that runs. Its partitions are ours, whatever
# other disks hold. Without words it has udev prefer them, and mends those whose superblock is gone; then
# /dev/disk/by-label means them, here and in the running system. `cos-home find LABEL` prints the partition of that
# disk that has a label, or that should have it, and `cos-home label LABEL` what ours is called on this machine.
set -u

PATH=/usr/sbin:/usr/bin:/sbin:/bin
rules=/run/udev/rules.d/61-cos-home.rules

# say TEXT: tells it where people look.
say() {
    echo "cos-home: $1" >&2
    { echo "cos-home: $1" > /dev/console; } 2> /dev/null || :
}

# own_label LABEL: what a label of ours is called on this machine.
own_label() {
    name=$(echo "${1#COS_}" | tr '[:upper:]' '[:lower:]')
    for word in $(cat /proc/cmdline); do
        case "$word" in "rd.cos.${name}label="?*) echo "${word#*=}" && return ;; esac
    done
    echo "$1"
}

# tell DEVICE TAG: what blkid sees there.
tell() {
    blkid -p -o value -s "$2" "$1"
}

# has_superblock DEVICE: whether one of the ext family is there, whatever else is.
has_superblock() {
    [ -n "$(blkid -p -n ext2,ext3,ext4 -o value -s TYPE "$1")" ]
}

# partition_of PLACE: the device that is mounted at PLACE.
partition_of() {
    while read -r device place _; do
        [ "$place" = "$1" ] && readlink -f "$device" && return
    done < /proc/mounts
    return 1
}

# position LABEL: which partition it is in a table without names.
position() {
    case "$1" in COS_OEM) echo 1 ;; COS_STATE) echo 2 ;; COS_RECOVERY) echo 3 ;; COS_PERSISTENT) echo 4 ;; esac
}

# partitions: those of the disk, one a line.
partitions() {
    for each in "$disk"/*/partition; do
        [ -e "$each" ] || continue
        each=${each%/partition}
        echo "/dev/$(echo "${each##*/}" | tr '!' '/')"
    done
}

# with_label LABEL: the partition whose file system has it.
with_label() {
    for device in $(partitions); do
        [ "$(tell "$device" LABEL)" = "$1" ] && echo "$device" && return
    done
    return 1
}

# without_label LABEL: the partition that is named for it, or in its place, and has no label at all.
without_label() {
    case "$1" in COS_OEM | COS_STATE | COS_RECOVERY | COS_PERSISTENT) ;; *) return 1 ;; esac
    name=$(echo "${1#COS_}" | tr '[:upper:]' '[:lower:]')
    for device in $(partitions); do
        [ -z "$(tell "$device" LABEL)" ] || continue
        case "$(tell "$device" PART_ENTRY_SCHEME)" in
            gpt) [ "$(tell "$device" PART_ENTRY_NAME)" = "$name" ] || continue ;;
            *)
                # Only in a table that is like ours.
                [ "$(tell "$home" PART_ENTRY_NUMBER)" = "$(position "$booted")" ] || continue
                [ "$(tell "$device" PART_ENTRY_NUMBER)" = "$(position "$1")" ] || continue
                ;;
        esac
        echo "$device" && return
    done
    return 1
}

# mend LABEL DEVICE: brings back a superblock from one of its copies. Nothing is ever made anew: it may all be there.
mend() {
    say "$2 should have the file system $1, and has none that can be seen: trying copies of its superblock"
    # The first two of a file system with blocks of 4 KiB, then of one with 1 KiB.
    for copy in 32768:4096 98304:4096 8193:1024 24577:1024; do
        e2fsck -y -b "${copy%:*}" -B "${copy#*:}" "$2" > /dev/kmsg 2>&1
        if [ $? -le 2 ]; then
            [ -n "$(tell "$2" LABEL)" ] || tune2fs -L "$1" "$2" > /dev/kmsg 2>&1
            say "$2 was mended with the copy of its superblock in block ${copy%:*}"
            return
        fi
    done
    say "$2 CANNOT BE MENDED: the machine runs without $1. Nothing on it was changed."
}

# prefer: makes links in /dev/disk those of this disk where several claim them.
prefer() {
    mkdir -p "${rules%/*}"
    printf 'SUBSYSTEM=="block", KERNELS=="%s", OPTIONS+="link_priority=100"\n' "${disk##*/}" > "$rules"
    udevadm control --reload
}

# announce: has udev look at the partitions again.
announce() {
    for device in $(partitions); do udevadm trigger --action=change --name-match="$device"; done
    udevadm settle --timeout=10
}

[ "${1:-}" != label ] || { own_label "$2" && exit; }
home=$(partition_of /run/initramfs/cos-state) || home=$(partition_of /run/initramfs/live) || exit 1
disk=$(readlink -f "/sys/class/block/$(echo "${home#/dev/}" | tr '/' '!')") || exit 1
# A disc, or something that is not divided, is no home.
[ -e "$disk/partition" ] || exit 1
disk=${disk%/*}
booted=
for label in COS_STATE COS_RECOVERY; do
    [ "$(tell "$home" LABEL)" = "$(own_label "$label")" ] && booted=$label
done

case "${1:-}" in
    find) with_label "$(own_label "$2")" || without_label "$2" ;;
    *)
        # Another disk, such as that of an installer, has nothing of ours.
        [ -n "$booted" ] || exit 0
        prefer
        for label in COS_OEM COS_STATE COS_RECOVERY COS_PERSISTENT; do
            with_label "$(own_label "$label")" > /dev/null && continue
            device=$(without_label "$label") || continue
            # What has another file system is somebody's; of two at once blkid tells none.
            if [ -z "$(tell "$device" TYPE)" ] && ! has_superblock "$device"; then
                mend "$(own_label "$label")" "$device"
            fi
        done
        announce
        ;;
esac
