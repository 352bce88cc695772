#!/bin/bash
# Boots the image that build.sh made, by BIOS and by direct kernel boot, under emulation, and says
# how long each took to the login prompt. For a person who has changed the guest:
#
#   check.sh DIR        status 0 if both showed `login:` within 90 s; DIR is build.sh's --output
#
# The image itself is not written to. Without a config drive or a metadata service the guest waits
# some seconds for one; the figures include that.

set -euo pipefail

images=${1:?the directory that build.sh wrote to}
limit_s=90
work=$(mktemp -d)
qemu_pid=

stop_guest() {
    [ -z "$qemu_pid" ] || { kill "$qemu_pid" && wait "$qemu_pid"; } 2>/dev/null || true
    qemu_pid=
}
trap 'stop_guest; rm -rf "$work"' EXIT

# boot NAME QEMU-ARGUMENT...
boot() {
    local name=$1 started=$SECONDS console=$work/$1.console
    shift
    : >"$console"
    qemu-system-x86_64 -accel tcg -cpu max -m 256 -display none -nodefaults -snapshot \
        -drive "file=$images/guest.qcow2,if=virtio" -serial "file:$console" \
        -netdev user,id=net -device virtio-net-pci,netdev=net "$@" 2>"$work/qemu.log" &
    qemu_pid=$!
    until grep -q 'login:' "$console"; do
        if ! kill -0 "$qemu_pid" 2>/dev/null || [ $((SECONDS - started)) -ge $limit_s ]; then
            echo "$name: no login prompt after $((SECONDS - started)) s; the console said:" >&2
            cat "$console" "$work/qemu.log" >&2
            return 1
        fi
        sleep 0.1
    done
    echo "$name: login prompt after $((SECONDS - started)) s"
    stop_guest
}

boot BIOS
boot direct -kernel "$images/vmlinuz" -initrd "$images/initrd.img" -append 'console=ttyS0 quiet'
