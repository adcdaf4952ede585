#!/bin/sh
# channel.sh REPOSITORY KEY ROOT: writes where upgrades come from, and who may sign them. With an empty REPOSITORY
# the channel is off. KEY (cosign's public key, for images) and ROOT (of the keys of the repository) are base64.
set -eu

enabled=true
[ -n "$1" ] || enabled=false
sed -i "s|:REPOSITORY:|$1|; s|:ENABLE:|$enabled|" /system/oem/02_upgrades.yaml

# keep CONTENT FILE: writes a file of base64, unless there is none.
keep() {
    [ -n "$1" ] || return 0
    mkdir -p /etc/cos
    echo "$1" | base64 -d > "$2"
    chmod 0644 "$2"
}

keep "$2" /etc/cos/cosign.pub
keep "$3" /etc/cos/root.json
if [ -n "$3" ]; then
    sed -i "s|:ROOT:|/etc/cos/root.json|" /system/oem/02_upgrades.yaml
else
    sed -i "/:ROOT:/d" /system/oem/02_upgrades.yaml
fi
