#!/bin/sh
# prepare.sh LOCALE: makes the installed distribution ready to be an image: the kernel is found at one place whatever
# its version, and nothing is left that belongs to one machine, or to the moment of the build.
set -eu

locale=$1

# The newest kernel, as a link inside the image: boot loaders ask for /boot/vmlinuz.
kernel=$(find /usr/lib/modules -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -V | tail -n 1)
[ -n "$kernel" ] || { echo "no kernel is installed: does 'kernel_package' of the values name one?" >&2; exit 1; }
[ -e "/boot/vmlinuz-$kernel" ] || cp "/usr/lib/modules/$kernel/vmlinuz" "/boot/vmlinuz-$kernel"
ln -sfn "vmlinuz-$kernel" /boot/vmlinuz
depmod -a "$kernel"
rm -f /vmlinuz /vmlinuz.old /initrd.img /initrd.img.old

# Ubuntu and Debian know grub-install, the others grub2-install; scripts may use the latter.
for program in install editenv mkimage probe; do
    for folder in /usr/sbin /usr/bin; do
        if [ ! -e "$folder/grub2-$program" ] && [ -e "$folder/grub-$program" ]; then
            ln -s "grub-$program" "$folder/grub2-$program"
        fi
    done
done

# The locale, where the distribution has the sources of locales rather than the locales.
case " $(locale -a | tr '[:upper:]\n' '[:lower:] ' | tr -d -) " in
    *" $(echo "$locale" | tr '[:upper:]' '[:lower:]' | tr -d -) "*) ;;
    *) localedef --no-archive -i "${locale%.*}" -f "${locale#*.}" "$locale" ;;
esac

# The identity of the machine is made at its first boot.
echo uninitialized > /etc/machine-id
mkdir -p /var/lib/dbus
ln -sfn /etc/machine-id /var/lib/dbus/machine-id
rm -rf /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/systemd/credential.secret \
    /var/lib/systemd/catalog/database /etc/.pwd.lock \
    /etc/.resolv.conf.systemd-resolved.bak

# What programs wrote down while they were installed. The folders stay, as their owners want them.
find /var/log /var/tmp /tmp -mindepth 1 -not -type d -delete
find /var/cache/man /var/cache/fontconfig -mindepth 1 -delete 2>/dev/null || true
rm -rf /var/cache/ldconfig/aux-cache /var/lib/plocate /var/lib/mlocate \
    /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- /root/.cache

# ACLs, which a squashfs cannot hold: systemd-tmpfiles gives journals theirs at every boot (tmpfiles.d/systemd.conf).
python3 -I - << 'PYTHON'
import os

for folder, _, _ in os.walk("/var"):
    for name in os.listxattr(folder):
        if name.startswith("system.posix_acl_"):
            os.removexattr(folder, name)
PYTHON

# The day of a password's last change is that of the build: none is known, so passwords do not age.
sed -Ei "s/^([^:]*:[^:]*):[0-9]*:/\1::/" /etc/shadow
