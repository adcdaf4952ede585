#!/bin/sh
# install.sh MODULE…: adds modules to the policy that the distribution installed, and makes it permissive: what it
# forbids is written down, and allowed. `enforcing=1` among the kernel arguments takes that back for installed systems,
# while the live and the recovery system stay permissive: nobody can label them.
set -eu

config=/etc/selinux/config
[ -f "$config" ] || { echo "no policy is installed: is one among 'packages' of the flavour?" >&2; exit 1; }
sed -i 's/^SELINUX=.*/SELINUX=permissive/' "$config"
. "$config"

# semodule renames folders, which an overlay refuses for those of lower layers: so they become those of this one.
for folder in /var/lib/selinux /etc/selinux; do
    if [ -d "$folder" ]; then
        cp -a "$folder" "$folder.new"
        rm -rf "$folder"
        mv "$folder.new" "$folder"
    fi
done

for module in "$@"; do
    semodule --noreload --store="$SELINUXTYPE" --install="$module"
done
