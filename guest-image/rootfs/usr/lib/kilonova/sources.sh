# Where the guest learns who it is: a config drive, else the metadata service. Either way the
# documents end up in $run/source under the names that they have in OpenStack's tree.

metadata_url=http://169.254.169.254/openstack

read_config_drive() {
    device=$(findfs LABEL=config-2 2>/dev/null || findfs LABEL=CONFIG-2 2>/dev/null) || return 1
    mkdir -p $run/drive
    mount -t iso9660 -o ro "$device" $run/drive 2>/dev/null ||
        mount -t vfat -o ro "$device" $run/drive 2>/dev/null || {
        log "config drive $device is neither iso9660 nor vfat"
        return 1
    }
    for document in meta_data.json user_data network_data.json; do
        [ -e $run/drive/openstack/latest/$document ] &&
            cp $run/drive/openstack/latest/$document $run/source/$document
    done
    [ -d $run/drive/openstack/content ] && cp -r $run/drive/openstack/content $run/source/content
    umount $run/drive
    is_usable "config drive $device"
}

# Asks up to $1 times, $2 seconds apart; a service that does not answer costs five seconds each time.
try_metadata_service() {
    for try in $(seq "$1"); do
        if fetch latest/meta_data.json && fetch_optional latest/user_data && is_usable "$metadata_url"; then
            return 0
        fi
        [ "$try" = "$1" ] || sleep "$2"
    done
    return 1
}

# Debian's busybox crashes on `wget -T`, therefore timeout.
fetch() {
    rm -f $run/fetched
    timeout 5 wget -q -O $run/fetched "$metadata_url/$1" 2>$run/fetch.log || return 1
    mkdir -p "$(dirname "$run/source/${1#latest/}")"
    mv $run/fetched "$run/source/${1#latest/}"
}

# A document that the service says it does not have is not a failure.
fetch_optional() {
    fetch "$1" || grep -q ' 404 ' $run/fetch.log
}

# Turns the metadata into lines that the shell can read; half a document is no document.
is_usable() {
    if awk -f $library/json-lines.awk $run/source/meta_data.json >$run/meta 2>/dev/null; then
        source_name=$1
        return 0
    fi
    log "$1: meta_data.json is missing or not valid JSON"
    rm -rf $run/source/*
    return 1
}
