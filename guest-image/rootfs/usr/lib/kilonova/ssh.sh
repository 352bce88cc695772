# The ssh server and its host key, which belongs to the instance.

host_key=/etc/dropbear/dropbear_ed25519_host_key
public_key=$state/host-key

forget_host_key() {
    rm -f $host_key $public_key
}

make_host_key() {
    [ -s $host_key ] && [ -s $public_key ] && return
    forget_host_key
    dropbearkey -t ed25519 -f $host_key >$public_key 2>/dev/null
    sync
}

# Replaces a server that was started before the instance was known.
start_ssh() {
    make_host_key
    [ -e /run/dropbear.pid ] && kill "$(cat /run/dropbear.pid)" && rm -f /run/dropbear.pid
    [ -e $state/ssh-by-password ] && by_password= || by_password=-s
    dropbear $by_password -r $host_key -P /run/dropbear.pid
}

# In the form in which cloud images show it, for programs that read it off the console.
show_host_key() {
    while read -r first second _; do
        case $first in
            ssh-ed25519) key="$first $second root@$(hostname)" ;;
            Fingerprint:) fingerprint=$second ;;
        esac
    done <$public_key
    {
        echo '-----BEGIN SSH HOST KEY FINGERPRINTS-----'
        echo "256 $fingerprint root@$(hostname) (ED25519)"
        echo '-----END SSH HOST KEY FINGERPRINTS-----'
        echo '-----BEGIN SSH HOST KEY KEYS-----'
        echo "$key"
        echo '-----END SSH HOST KEY KEYS-----'
    } >/dev/console
}
