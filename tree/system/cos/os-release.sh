#!/bin/sh
# os-release.sh BRAND LIKE HOME_URL DOCUMENTATION_URL BUG_REPORT_URL: says who this system is, in the words
# of os-release(5), and that /etc is up to date. An address that is empty is not written.
set -eu

# field NAME TEXT: one line, unless TEXT is empty.
field() {
    [ -z "$2" ] || printf '%s="%s"\n' "$1" "$2"
}

rm -f /etc/os-release
{
    field NAME "$1"
    field ID cos
    field ID_LIKE "$2"
    field VERSION "$PACKAGE_VERSION"
    field VERSION_ID "$PACKAGE_VERSION"
    field PRETTY_NAME "$1 v$PACKAGE_VERSION"
    field ANSI_COLOR "0;32"
    field HOME_URL "$3"
    field DOCUMENTATION_URL "$4"
    field BUG_REPORT_URL "$5"
} > /etc/os-release

# /etc goes with this /usr: else every boot would bring it up to date again, and forget that.
touch /etc/.updated
