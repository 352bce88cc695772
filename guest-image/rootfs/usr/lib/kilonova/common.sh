# Paths and small helpers that the other files of kilonova-init share.

library=/usr/lib/kilonova
# survives a reboot
state=/var/lib/kilonova
# this boot only, and for root only: the metadata has a password in it
run=/run/kilonova
tab='	'

log() {
    echo "kilonova-init: $*" >/dev/console
}

has_source() {
    [ -s $run/source/meta_data.json ]
}

mount_system() {
    mount -t tmpfs -o mode=0755 tmpfs /run
    mount -t tmpfs tmpfs /tmp
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o gid=5,mode=0620 devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -o remount,rw /
    ln -sf /proc/self/fd /dev/fd
    mkdir -p $state
    mkdir -p -m 0700 $run $run/source
    mkdir -p $run/leases $run/resolv
    ip link set lo up
}
