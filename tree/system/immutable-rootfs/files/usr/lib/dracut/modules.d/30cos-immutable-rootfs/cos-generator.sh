#!/bin/sh
# dracut-cos-generator: what systemd does with the kernel parameters when the initrd starts. It writes
# the mounts of the root and of COS_OEM, and the settings of cos-immutable-rootfs.service.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

units=${1:-/run/systemd/generator}
getargbool 0 rd.cos.disable && exit 0

# device_of NAME: the device that LABEL=…, UUID=… or a path under /dev means; fails for anything else.
device_of() {
    case "$1" in
        LABEL=*) echo "/dev/disk/by-label/${1#LABEL=}" ;;
        UUID=*) echo "/dev/disk/by-uuid/${1#UUID=}" ;;
        /dev/*) echo "$1" ;;
        *) return 1 ;;
    esac
}

# wait_at_most DEVICE SECONDS: how long systemd waits for a device.
wait_at_most() {
    dropin="$units/$(systemd-escape --path --suffix=device "$1").d"
    mkdir -p "$dropin"
    printf '[Unit]\nJobRunningTimeoutSec=%s\nJobTimeoutSec=%s\n' "$2" "$2" > "$dropin/50-cos-timeout.conf"
}

# require UNIT BY HOW: links UNIT under BY, for HOW `requires` or `wants`.
require() {
    mkdir -p "$units/$2.$3"
    ln -sfn "../$1" "$units/$2.$3/$1"
}

access=ro
getargbool 0 rd.cos.debugrw && access=rw

# A root that is not in an image, such as a squashed recovery system, is mounted by others.
if [ -n "$(getarg cos-img/filename=)" ] && root=$(device_of "$(getarg root=)"); then
    cat > "$units/sysroot.mount" << UNIT
[Unit]
Description=The root of the image
Before=initrd-root-fs.target
Requires=$(systemd-escape --path --suffix=device "$root")
After=$(systemd-escape --path --suffix=device "$root")

[Mount]
What=$root
Where=/sysroot
Options=$access
UNIT
    wait_at_most "$root" 300
    require sysroot.mount initrd-root-fs.target requires
fi

oem_label=$(getarg rd.cos.oemlabel=)
oem=/dev/disk/by-label/${oem_label:-COS_OEM}
oem_timeout=$(getarg rd.cos.oemtimeout=)
fsck=systemd-fsck@$(systemd-escape --path "$oem").service
# Only when the disk that was booted is known does the label mean its partition.
mkdir -p "$units/$fsck.d"
printf '[Unit]\nAfter=cos-home.service\n' > "$units/$fsck.d/50-cos-home.conf"
cat > "$units/oem.mount" << UNIT
[Unit]
Description=The configuration of the machine's owner
DefaultDependencies=no
Before=cos-setup-rootfs.service
Wants=$fsck
After=$fsck cos-home.service

[Mount]
What=$oem
Where=/oem
Options=rw,suid,dev,exec,noauto,nouser,async
UNIT
wait_at_most "$oem" "${oem_timeout:-120}"
require oem.mount cos-setup-rootfs.service wants
mkdir -p "$units/initrd-root-fs.target.wants"
oem_unit=$(systemd-escape --path --suffix=device "$oem")
ln -sfn "../$oem_unit" "$units/initrd-root-fs.target.wants/$oem_unit"

mounts=$(getargs rd.cos.mount= | tr '\n' ' ')
overlay=$(getarg rd.cos.overlay=)
overlay=$(echo "${overlay:-tmpfs:20%}" | sed 's/%/%%/g')
mkdir -p "$units/cos-immutable-rootfs.service.d"
cat > "$units/cos-immutable-rootfs.service.d/override.conf" << UNIT
[Service]
Environment="cos_mounts=$mounts"
Environment="cos_overlay=$overlay"
Environment="cos_root_perm=$access"
EnvironmentFile=-/run/cos/cos-layout.env
UNIT
