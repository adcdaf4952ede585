#!/bin/sh
# cos-home: the disk that was booted, which is the one with the image that runs. Its partitions are ours, whatever
# other disks hold. Without words it has udev prefer them, and mends those whose superblock is gone; then
# /dev/disk/by-label means them, here and in the running system. `cos-home find LABEL` prints the partition of that
# disk that has a label, or that should have it, and `cos-home label LABEL` what ours is called on this machine.
#
# It runs in every boot, so functions leave what they find in a variable: no process is started to ask one.
set -u

PATH=/usr/sbin:/usr/bin:/sbin:/bin
rules=/run/udev/rules.d/61-cos-home.rules
read -r cmdline < /proc/cmdline || :

# say TEXT: tells it where people look.
say() {
    echo "cos-home: $1" >&2
    { echo "cos-home: $1" > /dev/console; } 2> /dev/null || :
}

# own LABEL: sets `label` to what a label of ours is called on this machine, and `name` to its partition's name.
own() {
    label=$1 name= place=
    case "$1" in
        COS_OEM) name=oem place=1 ;;
        COS_STATE) name=state place=2 ;;
        COS_RECOVERY) name=recovery place=3 ;;
        COS_PERSISTENT) name=persistent place=4 ;;
        COS_GRUB) name=grub ;;
        COS_ACTIVE) name=active ;;
        COS_PASSIVE) name=passive ;;
        COS_SYSTEM) name=system ;;
        *) return ;;
    esac
    set -f
    for word in $cmdline; do
        case "$word" in "rd.cos.${name}label="?*) label=${word#*=} ;; esac
    done
    set +f
}

# find_home: sets `home` to the partition that the image is on, `disk` to its disk in /sys, and `partitions`.
find_home() {
    home= live= partitions=
    while read -r device folder _; do
        case "$folder" in
            /run/initramfs/cos-state) home=$device ;;
            /run/initramfs/live) live=$device ;;
        esac
    done < /proc/mounts
    home=$(readlink -f "${home:-$live}") || return
    disk=${home#/dev/}
    case "$disk" in */*) disk=$(echo "$disk" | tr '/' '!') ;; esac
    disk=$(cd -P "/sys/class/block/$disk" && pwd) || return
    # A disc, or something that is not divided, is no home.
    [ -e "$disk/partition" ] || return
    disk=${disk%/*}
    for device in "$disk"/*/partition; do
        device=${device%/partition} device=${device##*/}
        case "$device" in *!*) device=$(echo "$device" | tr '!' '/') ;; esac
        partitions="$partitions /dev/$device"
    done
}

# look: reads what is on all partitions.
look() {
    # shellcheck disable=SC2086  # several words
    seen=$(blkid -p -o export $partitions)
}

# tell DEVICE TAG: sets `told` to what was seen there.
tell() {
    told= here=
    while read -r line; do
        case "$line" in
            "DEVNAME=$1") here=yes ;;
            DEVNAME=*) here= ;;
            "$2="*) [ -z "$here" ] || told=${line#*=} ;;
        esac
    done << SEEN
$seen
SEEN
}

# with_label: sets `found` to the partition whose file system has `label`.
with_label() {
    for found in $partitions; do
        tell "$found" LABEL
        [ "$told" != "$label" ] || return 0
    done
    return 1
}

# without_label: sets `found` to the partition that is named `name`, or in its place, and has no label at all.
without_label() {
    [ -n "$place" ] || return
    for found in $partitions; do
        tell "$found" LABEL
        [ -z "$told" ] || continue
        tell "$found" PART_ENTRY_SCHEME
        if [ "$told" = gpt ]; then
            tell "$found" PART_ENTRY_NAME
            [ "$told" != "$name" ] || return 0
        elif [ "$number" = "$expected" ]; then
            # Only in a table that is like ours.
            tell "$found" PART_ENTRY_NUMBER
            [ "$told" != "$place" ] || return 0
        fi
    done
    return 1
}

# has_superblock: whether `found` has one after all; beside traces of something else neither type nor label is told.
has_superblock() {
    [ -n "$(blkid -p -n ext2,ext3,ext4 -o value -s TYPE "$found")" ]
}

# mend: brings the superblock of `found` back from one of its copies. Nothing is ever made anew: it may all be there.
mend() {
    say "$found should have the file system $label, and has none that can be seen: trying copies of its superblock"
    # The first two of a file system with blocks of 4 KiB, then of one with 1 KiB.
    for copy in 32768:4096 98304:4096 8193:1024 24577:1024; do
        e2fsck -y -b "${copy%:*}" -B "${copy#*:}" "$found" > /dev/kmsg 2>&1
        if [ $? -le 2 ]; then
            [ -n "$(blkid -p -o value -s LABEL "$found")" ] || tune2fs -L "$label" "$found" > /dev/kmsg 2>&1
            say "$found was mended with the copy of its superblock in block ${copy%:*}"
            return
        fi
    done
    say "$found CANNOT BE MENDED: the machine runs without $label. Nothing on it was changed."
}

# prefer: makes links in /dev/disk those of this disk where several claim them.
prefer() {
    [ -d "${rules%/*}" ] || mkdir -p "${rules%/*}"
    echo "SUBSYSTEM==\"block\", KERNELS==\"${disk##*/}\", OPTIONS+=\"link_priority=100\"" > "$rules"
}

# announce: has udev look at the partitions again.
announce() {
    udevadm control --reload
    for found in $partitions; do udevadm trigger --action=change --name-match="$found"; done
    udevadm settle --timeout=10
}

own "${2:-}"
[ "${1:-}" != label ] || { echo "$label" && exit; }
find_home || exit 1
look
# What is booted, and where it is in the table.
booted= number= expected=
tell "$home" PART_ENTRY_NUMBER
number=$told
for each in COS_STATE COS_RECOVERY; do
    own "$each"
    tell "$home" LABEL
    [ "$told" != "$label" ] || booted=$each expected=$place
done

case "${1:-}" in
    find)
        own "$2"
        { with_label || without_label; } && echo "$found"
        ;;
    *)
        # Another disk, such as that of an installer, has nothing of ours.
        [ -n "$booted" ] || exit 0
        prefer
        news=
        for each in COS_OEM COS_STATE COS_RECOVERY COS_PERSISTENT; do
            own "$each"
            if with_label; then
                [ "/dev/disk/by-label/$label" -ef "$found" ] || news=yes
            elif without_label; then
                # What has another file system is somebody's.
                tell "$found" TYPE
                [ -n "$told" ] || has_superblock || { mend && news=yes; }
            fi
        done
        [ -z "$news" ] || announce
        ;;
esac
