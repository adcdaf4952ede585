#!/bin/sh
# channel.sh REPOSITORY: writes where upgrades come from; with an empty REPOSITORY the channel is off.
set -eu

enabled=true
[ -n "$1" ] || enabled=false
sed -i "s|:REPOSITORY:|$1|; s|:ENABLE:|$enabled|" /system/oem/02_upgrades.yaml
