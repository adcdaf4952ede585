#!/bin/bash
# How dracut puts the first two stages into an initrd. Their programs are those of the system that is booted:
# neither Python nor a tool for disks has to be in the initrd.

# Says that the module is added on request, not by what the building machine looks like.
check() {
    return 255
}

# Names the modules that this one needs: the network is for sources of user data.
depends() {
    echo systemd network
}

# Adds the drivers of overlays, and of what a file of user data comes on.
installkernel() {
    instmods overlay isofs vfat nls_cp437 nls_iso8859_1 nls_utf8 sr_mod
}

# Adds the units, as they were enabled, the script, and an end to the waiting for a network.
install() {
    inst_multiple mount umount unshare mkdir rmdir rm chroot cp
    inst_script "$moddir/cos-stage-rootfs.sh" /sbin/cos-stage-rootfs
    inst_simple "$moddir/wait-online.conf" \
        "$systemdsystemunitdir/systemd-networkd-wait-online.service.d/cos.conf"
    for stage in rootfs initramfs; do
        inst_simple "$systemdsystemunitdir/cos-setup-$stage.service"
    done
    $SYSTEMCTL -q --root "$initdir" add-wants initrd-fs.target cos-setup-rootfs.service
    $SYSTEMCTL -q --root "$initdir" add-wants initrd.target cos-setup-initramfs.service
}
