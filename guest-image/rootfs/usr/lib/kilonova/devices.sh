# Drivers, hotplug, the size of the root file system, the power button.

# Loads what the devices of the given buses ask for. Two rounds at the most are needed: a
# controller's driver makes further devices appear.
load_drivers_of() {
    for bus; do
        cat /sys/bus/"$bus"/devices/*/modalias 2>/dev/null
    done | sort -u | xargs modprobe -a -b -q 2>/dev/null
}

load_drivers() {
    load_drivers_of acpi pci virtio
    load_drivers_of scsi
    modprobe -q evdev
    [ -w /sys/devices/system/memory/auto_online_blocks ] &&
        echo online >/sys/devices/system/memory/auto_online_blocks
    # from here on, every device that comes or goes is a call of the hotplug script
    uevent $library/hotplug >/dev/null 2>&1 &
}

# The initramfs has made the partition as large as the disk; now the file system follows.
grow_root_filesystem() {
    while read -r device mountpoint _; do
        [ "$mountpoint" = / ] && root_device=$device
    done </proc/mounts
    size=$(blockdev --getsize64 "$root_device")
    [ "$size" = "$(cat $state/root-size 2>/dev/null)" ] && return
    resize2fs "$root_device" >$run/resize2fs.log 2>&1 || {
        log "cannot grow $root_device: $(tail -n 1 $run/resize2fs.log)"
        return
    }
    echo "$size" >$state/root-size
}

watch_power_button() {
    acpid -l /dev/null
}
