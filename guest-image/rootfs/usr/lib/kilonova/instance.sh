# Makes the guest the instance that the metadata describes. The host name is set at each boot; the
# rest only when the instance's id is not the one of the last boot, as for a copy of another disk.

apply_instance() {
    read_meta
    set_host_name
    plan_network
    if [ "$instance_id" = "$(cat $state/instance-id 2>/dev/null)" ]; then
        log "$source_name: instance $instance_id, known"
        return
    fi
    log "$source_name: instance $instance_id, new"
    forget_host_key
    install_keys root /root
    install_keys kilo /home/kilo
    set_admin_password
    write_files
    echo "$instance_id" >$state/instance-id
}

# Sets instance_id, host_name, admin_password and writes $run/keys, $run/files.
read_meta() {
    instance_id=none host_name= admin_password=
    : >$run/keys.raw
    : >$run/files
    while IFS=$tab read -r path value; do
        case $path in
            uuid) instance_id=$value ;;
            hostname) host_name=$value ;;
            admin_pass) admin_password=$(printf %b "$value") ;;
            public_keys/*) printf '%b\n' "$value" >>$run/keys.raw ;;
            # what is no ssh key here is a certificate
            keys/*/data) case $value in ssh-* | ecdsa-* | sk-*) printf '%b\n' "$value" >>$run/keys.raw ;; esac ;;
            files/*/content_path) content_path=$value ;;
            files/*/path) printf '%s\t%s\n' "$content_path" "$value" >>$run/files ;;
        esac
    done <$run/meta
    sed '/^[[:space:]]*$/d' $run/keys.raw | sort -u >$run/keys
}

set_host_name() {
    [ -n "$host_name" ] || return
    short=${host_name%%.*}
    hostname "$short"
    echo "$short" >/etc/hostname
    names=$short
    [ "$host_name" = "$short" ] || names="$host_name $short"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$names" >/etc/hosts
}

plan_network() {
    [ -s $run/source/network_data.json ] || return
    awk -f $library/json-lines.awk $run/source/network_data.json >$run/network || {
        log "network_data.json is not valid JSON: using DHCP"
        return
    }
    awk -f $library/network-plan.awk $run/network >$run/network-plan
}

install_keys() {
    mkdir -p -m 0700 "$2/.ssh"
    cp $run/keys "$2/.ssh/authorized_keys"
    chmod 0600 "$2/.ssh/authorized_keys"
    chown -R "$1" "$2/.ssh"
}

# A password of its own opens ssh to passwords; the one that everybody knows does not.
set_admin_password() {
    rm -f $state/ssh-by-password
    [ -n "$admin_password" ] || return
    set_password root && set_password kilo && touch $state/ssh-by-password
}

# A thousand rounds instead of crypt's usual five thousand: emulated, those are seconds.
set_password() {
    salt=$(head -c 12 /dev/urandom | base64 | tr '+=' './')
    hash=$(printf '%s\n' "$admin_password" | mkpasswd -P 0 -m sha256 -S "rounds=1000\$$salt") || return
    (
        umask 077
        user=$1 hash=$hash awk -F: -v OFS=: '$1 == ENVIRON["user"] { $2 = ENVIRON["hash"] } { print }' \
            /etc/shadow >/etc/shadow.new
    ) && mv /etc/shadow.new /etc/shadow
}

# The files that the server was created with ("personality").
write_files() {
    while IFS=$tab read -r content_path path; do
        path=$(printf %b "$path")
        content=${content_path#/}
        case $path in
            /*) ;;
            *) path=/$path ;;
        esac
        [ -e "$run/source/$content" ] || fetch "$content" || {
            log "cannot write $path: $content_path is not to be had"
            continue
        }
        mkdir -p "$(dirname "$path")"
        (umask 077 && cat "$run/source/$content" >"$path") || log "cannot write $path"
    done <$run/files
}
