#!/bin/bash
# cos-mount-layout: puts overlays and partitions over the read-only root below /sysroot, and writes
# its fstab. What it does is told by the environment: cos_mounts, cos_overlay and cos_root_perm hold
# the kernel parameters; VOLUMES, OVERLAY, MERGE, DEBUG_RW, RW_PATHS, PERSISTENT_STATE_PATHS,
# PERSISTENT_STATE_TARGET and PERSISTENT_STATE_BIND come from /run/cos/cos-layout.env.

set -o pipefail

SYSROOT=${SYSROOT:-/sysroot}
OVERLAY_BASE=${OVERLAY_BASE:-/run/overlay}
overlay=${OVERLAY:-${cos_overlay:-}}
home=${COS_HOME:-/sbin/cos-home}
state_target=${PERSISTENT_STATE_TARGET:-/usr/local/.state}
fstab=""
declare -A volumes

# device_of NAME: the device that LABEL=… or UUID=… means. A label is that of the disk that was booted, if it has it.
device_of() {
    local found label link
    case "$1" in
        LABEL=*)
            found=$("$home" find "${1#LABEL=}" 2> /dev/null)
            label=$("$home" label "${1#LABEL=}" 2> /dev/null)
            link=/dev/disk/by-label/${label:-${1#LABEL=}}
            # The link is the better name, as long as it says the same.
            [ -n "$found" ] && [ "$(readlink -f "$link")" != "$found" ] && link=$found
            echo "$link"
            ;;
        UUID=*) echo "/dev/disk/by-uuid/${1#UUID=}" ;;
        *) echo "$1" ;;
    esac
}

# dashed PATH: the path as one word, /usr/local as usr-local.
dashed() {
    local trimmed=${1#/}
    echo "${trimmed//\//-}"
}

# read_volumes: fills `volumes` by mount point; those of the layout win over those of the kernel.
read_volumes() {
    local volume
    if [ "${MERGE:-true}" = true ]; then
        for volume in ${cos_mounts:-}; do volumes[${volume#*:}]=${volume%%:*}; done
    fi
    for volume in ${VOLUMES:-}; do volumes[${volume#*:}]=${volume%%:*}; done
}

# overlay_paths: the paths that become writable, one a line, without volumes and persistent ones.
overlay_paths() {
    local path
    for path in ${RW_PATHS-/etc /root /home /opt /srv /usr/local /var}; do
        case " ${PERSISTENT_STATE_PATHS:-} ${!volumes[*]} " in
            *" $path "*) ;;
            *) echo "$path" ;;
        esac
    done
}

# persistent_paths: the paths whose changes are kept, one a line.
persistent_paths() {
    local path
    for path in ${PERSISTENT_STATE_PATHS:-}; do echo "$path"; done
}

# mount_base: mounts what the upper folders of the overlays are kept in.
mount_base() {
    mkdir -p "$OVERLAY_BASE"
    mountpoint -q "$OVERLAY_BASE" && return
    case "$overlay" in
        tmpfs:*)
            mount -t tmpfs -o "defaults,size=${overlay#tmpfs:}" tmpfs "$OVERLAY_BASE"
            fstab+="tmpfs $OVERLAY_BASE tmpfs defaults,size=${overlay#tmpfs:} 0 0"$'\n'
            ;;
        *)
            mount -t auto "$(device_of "$overlay")" "$OVERLAY_BASE"
            fstab+="$(device_of "$overlay") $OVERLAY_BASE auto defaults 0 0"$'\n'
            ;;
    esac
}

# wait_for DEVICE: gives a slow disk a minute; what was there once is told to be there at once.
wait_for() {
    local left=${VOLUME_TIMEOUT:-60}
    while [ ! -b "$1" ] && [ "$left" -gt 0 ]; do
        udevadm settle --timeout=1 2> /dev/null
        sleep 1
        left=$((left - 1))
    done
}

# check DEVICE: mends a file system of the ext family; what cannot be mended is told, and mounted if it can be.
check() {
    case "$(blkid -o value -s TYPE "$1")" in
        ext[234]) e2fsck -y "$1" || echo "$1 was checked: e2fsck ended with $?" >&2 ;;
    esac
}

# mount_volume PATH: mounts a partition; a missing one is a warning, and stays in the fstab.
mount_volume() {
    local path=$1 device
    device=$(device_of "${volumes[$1]}")
    # A boot goes on without it; what needs it finds out.
    fstab+="$device $path auto defaults,nofail 0 0"$'\n'
    wait_for "$device"
    if [ ! -b "$device" ]; then
        echo "warning: $device is not there, so $path is not mounted" >&2
    elif mountpoint -q "$SYSROOT$path"; then
        echo "warning: $path is mounted already" >&2
    else
        mkdir -p "$SYSROOT$path"
        check "$device"
        mount -t auto "$device" "$SYSROOT$path" || echo "warning: $device cannot be mounted on $path" >&2
    fi
}

# mount_overlay PATH STORE REQUIRED: makes PATH writable; the changes are kept below STORE.
mount_overlay() {
    local path=$1 store options
    store="$2/$(dashed "$1").overlay"
    [ -d "$SYSROOT$path" ] || mkdir -p "$SYSROOT$path" || return 0
    mountpoint -q "$SYSROOT$path" && return
    mkdir -p "$store/upper" "$store/work"
    # The folder that is seen has the owner and mode of the upper one.
    chmod --reference="$SYSROOT$path" "$store/upper"
    chown --reference="$SYSROOT$path" "$store/upper"
    options="lowerdir=$SYSROOT$path,upperdir=$store/upper,workdir=$store/work"
    if ! mount -t overlay -o "defaults,$options" overlay "$SYSROOT$path"; then
        echo "warning: $path stays read-only: there can be no overlay with $store" >&2
        return
    fi
    options="lowerdir=$path,upperdir=${store#"$SYSROOT"}/upper,workdir=${store#"$SYSROOT"}/work"
    fstab+="overlay $path overlay defaults,$options,x-systemd.requires-mounts-for=$3 0 0"$'\n'
}

# mount_bind PATH: makes PATH a folder of the persistent store, which is filled the first time.
mount_bind() {
    local path=$1 store
    store="$SYSROOT$state_target/$(dashed "$1").bind"
    mountpoint -q "$SYSROOT$path" && return
    [ -d "$SYSROOT$path" ] || mkdir -p "$SYSROOT$path"
    if [ ! -d "$store" ]; then
        # Filled under another name, so that half of it is never taken for the whole.
        rm -rf "$store.new"
        mkdir -p "$store.new"
        rsync -aqAX "$SYSROOT$path/" "$store.new/" && sync -f "$store.new" && mv "$store.new" "$store"
    fi
    if ! mount -o defaults,bind "$store" "$SYSROOT$path"; then
        echo "warning: $path stays as it is: $store cannot be mounted on it" >&2
        return
    fi
    fstab+="${store#"$SYSROOT"} $path none defaults,bind 0 0"$'\n'
}

# mount_path KIND PATH: mounts one path as what it is.
mount_path() {
    case "$1" in
        volume) mount_volume "$2" ;;
        overlay) mount_overlay "$2" "$OVERLAY_BASE" "$OVERLAY_BASE" ;;
        persistent)
            if [ "${PERSISTENT_STATE_BIND:-false}" = true ]; then
                mount_bind "$2"
            else
                mount_overlay "$2" "$SYSROOT$state_target" "$state_target"
            fi
            ;;
    esac
}

# everything: all that is to be mounted, as `PATH KIND`: first what the persistent store is on, then by path, so that
# /usr comes before /usr/local.
everything() {
    local path kind
    {
        for path in "${!volumes[@]}"; do echo "$path volume"; done
        if [ "$1" = all ]; then
            overlay_paths | while read -r path; do echo "$path overlay"; done
            persistent_paths | while read -r path; do echo "$path persistent"; done
        fi
    } | sort -u | while read -r path kind; do
        case "$state_target/" in
            "${path%/}"/*) echo "0 $path $kind" ;;
            *) echo "1 $path $kind" ;;
        esac
    done | sort -s -k 1,1 | cut -d ' ' -f 2-
}

# write_fstab: keeps what was mounted for systemd of the running system.
write_fstab() {
    printf '%s' "$fstab" > "$SYSROOT/etc/fstab"
    # Without this the shutdown hangs on /etc, from which systemd itself still reads.
    mkdir -p "$SYSROOT/etc/systemd/system/etc.mount.d"
    printf '[Mount]\nLazyUnmount=true\n' > "$SYSROOT/etc/systemd/system/etc.mount.d/override.conf"
}

# main: an overlay root (live system, squashed recovery) is writable as it is and only gets volumes.
main() {
    local what=all path kind permissions=${cos_root_perm:-ro}
    [ -n "$overlay" ] || exit 0
    [ "${DEBUG_RW:-false}" = true ] && permissions=rw && mount -o remount,rw "$SYSROOT"
    read_volumes
    if grep -q " $SYSROOT overlay " /proc/mounts; then
        what=volumes
    else
        fstab="$(grep " $SYSROOT " /proc/mounts | head -n 1 | cut -d ' ' -f 1) / auto $permissions 0 0"$'\n'
        mount_base
    fi
    while read -r path kind; do
        mount_path "$kind" "$path"
    done < <(everything "$what")
    write_fstab
}

main "$@"
