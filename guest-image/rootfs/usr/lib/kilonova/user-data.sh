# User data: a script, plain or compressed by gzip, run once for each instance as root.

run_user_data() {
    [ -s $run/source/user_data ] || return
    cmp -s $state/instance-id $state/user-data-of && return
    # before the script, so that one that reboots the guest does not run for ever
    cp $state/instance-id $state/user-data-of
    script=$state/user-data
    (umask 077 && cp $run/source/user_data $script)
    if [ "$(head -c 2 $script | hexdump -e '2/1 "%02x"')" = 1f8b ]; then
        mv $script $script.gz
        gunzip -f $script.gz || {
            log 'user data is not valid gzip: not run'
            return
        }
    fi
    case $(head -c 2 $script) in
        '#!') ;;
        *)
            log "user data is no script (it begins with \"$(head -n 1 $script | head -c 40)\"): not run"
            return
            ;;
    esac
    chmod 0700 $script
    log 'user data: started'
    {
        (cd / && exec $script) </dev/null
        echo "kilonova-init: user data: ended with status $?"
    } 2>&1 | tee /var/log/user-data.log >/dev/console
}
