#!/bin/sh
# system-packages.sh SET…: makes sure that the programs of each SET (run, image, machine, test) are installed. As root
# on a system with apt it installs what is missing; elsewhere it says which commands would, and fails.
set -eu

# What is needed: the set, a check that it is there, and its package for apt, dnf and zypper.
table() {
    cat << 'TABLE'
run  | python3 -c 'import ensurepip, venv'                     | python3-venv           | python3                | python3
run  | command -v git                                          | git                    | git                    | git
run  | command -v crun                                         | crun                   | crun                   | crun
run  | command -v mmdebstrap                                   | mmdebstrap             | mmdebstrap             | mmdebstrap
run  | ls /usr/share/keyrings/debian-archive-keyring.*         | debian-archive-keyring | debian-keyring         | debian-keyring
run  | command -v newuidmap                                    | uidmap                 | shadow-utils           | shadow
run  | ls /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem 2>&1 \| grep -v 'cannot access' | ca-certificates | ca-certificates | ca-certificates-mozilla
run  | command -v zstd                                         | zstd                   | zstd                   | zstd
image | command -v xorriso                                     | xorriso                | xorriso                | xorriso
image | command -v mksquashfs                                  | squashfs-tools         | squashfs-tools         | squashfs
image | command -v mcopy                                       | mtools                 | mtools                 | mtools
image | command -v mkfs.fat                                    | dosfstools             | dosfstools             | dosfstools
image | command -v mke2fs                                      | e2fsprogs              | e2fsprogs              | e2fsprogs
image | command -v sgdisk                                      | gdisk                  | gdisk                  | gptfdisk
image | command -v sfdisk                                      | fdisk                  | util-linux             | util-linux
image | command -v grub-mkimage grub2-mkimage                   | grub-common            | grub2-tools            | grub2
image | ls -d /usr/lib/grub/i386-pc /usr/share/grub2/i386-pc 2>&1 \| grep -v 'cannot access' | grub-pc-bin | grub2-pc-modules | grub2-i386-pc
image | ls -d /usr/lib/grub/x86_64-efi /usr/share/grub2/x86_64-efi 2>&1 \| grep -v 'cannot access' | grub-efi-amd64-bin | grub2-efi-x64-modules | grub2-x86_64-efi
image | command -v grub-install grub2-install                   | grub2-common           | grub2-tools            | grub2
image | command -v rsync                                       | rsync                  | rsync                  | rsync
image | command -v qemu-img                                    | qemu-utils             | qemu-img               | qemu-tools
test | command -v skopeo                                       | skopeo                 | skopeo                 | skopeo
test | command -v umoci                                        | umoci                  | umoci                  | umoci
test | command -v docker-registry                              | docker-registry        | docker-distribution    | distribution-registry
test | command -v dockerd                                      | docker.io              | moby-engine            | docker
test | command -v podman                                       | podman                 | podman                 | podman
test | command -v runc                                         | runc                   | runc                   | runc
test | command -v rpm && command -v rpmbuild                    | rpm                    | rpm-build              | rpm-build
test | command -v busybox                                      | busybox-static         | busybox                | busybox-static
test | command -v notary notary-server                         | notary                 | notary                 | notary
machine | command -v qemu-system-x86_64                        | qemu-system-x86        | qemu-system-x86        | qemu-x86
machine | command -v qemu-img                                  | qemu-utils             | qemu-img               | qemu-tools
test | ls /usr/share/OVMF/OVMF_CODE*.fd                        | ovmf                   | edk2-ovmf              | qemu-ovmf-x86_64
test | command -v qemu-system-aarch64                          | qemu-system-arm        | qemu-system-aarch64    | qemu-arm
test | ls /usr/share/AAVMF/AAVMF_CODE.fd                       | qemu-efi-aarch64       | edk2-aarch64           | qemu-uefi-aarch64
test | command -v cpio                                         | cpio                   | cpio                   | cpio
test | command -v ssh                                      | openssh-client         | openssh-clients        | openssh-clients
test | command -v systemd-analyze && command -v systemd-escape | systemd                | systemd                | systemd
test | command -v sbverify                                     | sbsigntool             | sbsigntools            | sbsigntools
test | command -v eject                                        | eject                  | util-linux             | util-linux
test | command -v udevadm                                      | udev                   | systemd-udev           | udev
test | command -v strace                                       | strace                 | strace                 | strace
TABLE
}

# missing SET…: the rows of the sets whose check fails.
missing() {
    table | sed 's/\\|/\a/g; s/ *| */|/g' | while IFS='|' read -r set check apt dnf zypper; do
        case " $* " in *" $set "*) ;; *) continue ;; esac
        check=$(printf '%s' "$check" | tr '\a' '|')
        sh -c "$check" > /dev/null 2>&1 || echo "$apt $dnf $zypper"
    done
}

# column N: the Nth package of every row, blank separated.
column() {
    echo "$rows" | cut -d ' ' -f "$1" | sort -u | tr '\n' ' ' | sed 's/ $//'
}

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    echo "error: python3 must be Python 3.11 or newer, and is: $(python3 --version 2>&1 || echo none)" >&2
    exit 1
fi

rows=$(missing "$@")
[ -n "$rows" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    packages=$(column 1)
    echo "setup: installing with apt: $packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet --quiet
    # shellcheck disable=SC2086  # a list of words
    apt-get install --quiet --quiet --yes --no-install-recommends $packages
    rows=$(missing "$@")
    [ -z "$rows" ] || { echo "error: still missing after the installation: $(column 1)" >&2; exit 1; }
    exit 0
fi

cat >&2 << MESSAGE
error: programs are missing that only root can install. One of these commands brings them:
    apt-get install --no-install-recommends $(column 1)
    dnf install $(column 2)
    zypper install $(column 3)
MESSAGE
exit 1
