#!/bin/sh
# Hook of the stage `cmdline`: waits for the root, and attaches the image once udev has settled.
# It does nothing unless the kernel command line names an image (cos-img/filename=) and a root in it.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

cos_img=$(getarg cos-img/filename=)
cos_root=$(getarg root=)

if [ -n "$cos_img" ] && ! getargbool 0 rd.cos.disable; then
    case "$cos_root" in
        LABEL=* | UUID=*)
            root="block:$(label_uuid_to_dev "$cos_root")"
            ;;
        /dev/*)
            root="block:$cos_root"
            ;;
        *)
            root=""
            ;;
    esac
    if [ -n "$root" ]; then
        # shellcheck disable=SC2034  # read by dracut, which sources this hook
        rootok=1
        wait_for_dev -n "${root#block:}"
        /sbin/initqueue --settled --unique /sbin/cos-loop-img "$cos_img"
        /sbin/initqueue --timeout --unique --name cos-loop-img-any /sbin/cos-loop-img "$cos_img" any
    fi
fi
