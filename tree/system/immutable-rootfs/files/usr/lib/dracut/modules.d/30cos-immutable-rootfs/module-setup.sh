#!/bin/bash
# How dracut puts the module into an initrd.

# Says that the module is added on request, not by what the building machine looks like.
check() {
    require_binaries systemctl losetup blkid || return 1
    return 255
}

# Names the modules that this one needs.
depends() {
    echo systemd rootfs-block dm fs-lib
}

# Adds the drivers of loop devices, overlays and of the file systems in images.
installkernel() {
    instmods loop overlay ext2 ext4 squashfs
}

# Adds the programs, the hook, the generator and the unit.
install() {
    inst_multiple losetup blkid mount umount mountpoint mkdir chmod chown sort cut tr cat grep head sed ln mv rm sync readlink systemd-escape udevadm
    inst_multiple -o rsync e2fsck fsck fsck.ext2 fsck.ext4 tune2fs
    inst_hook cmdline 30 "$moddir/parse-cos-cmdline.sh"
    inst_script "$moddir/cos-loop-img.sh" /sbin/cos-loop-img
    inst_script "$moddir/cos-home.sh" /sbin/cos-home
    inst_script "$moddir/cos-mount-layout.sh" /sbin/cos-mount-layout
    inst_script "$moddir/cos-generator.sh" "$systemdutildir/system-generators/dracut-cos-generator"
    inst_simple "$moddir/cos-immutable-rootfs.service" "$systemdsystemunitdir/cos-immutable-rootfs.service"
    inst_simple "$moddir/cos-home.service" "$systemdsystemunitdir/cos-home.service"
    $SYSTEMCTL -q --root "$initdir" add-wants initrd-fs.target cos-home.service
    mkdir -p "$initdir/$systemdsystemunitdir/initrd-fs.target.requires"
    ln_r "$systemdsystemunitdir/cos-immutable-rootfs.service" \
        "$systemdsystemunitdir/initrd-fs.target.requires/cos-immutable-rootfs.service"
    # Not /etc/hosts: while an image is built, that is the building machine's.
    inst_simple "$moddir/hosts" /etc/hosts
    dracut_need_initqueue
}
