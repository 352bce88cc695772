# Interfaces: static where network_data.json says so for the hardware address, else DHCP.

is_hardware() {
    [ -e "/sys/class/net/$1/device" ]
}

hardware_interfaces() {
    for path in /sys/class/net/*/device; do
        [ -e "$path" ] || continue
        path=${path%/device}
        echo "${path##*/}"
    done
}

bring_up_network() {
    for interface in $(hardware_interfaces); do
        configure_interface "$interface"
    done
}

configure_interface() {
    # the hotplug script and the boot may both see a new interface: the first one has it
    mkdir "$run/interface.$1" 2>/dev/null || return 0
    interface=$1
    planned_address=
    ip link set "$interface" up
    mac=$(cat "/sys/class/net/$interface/address")
    [ -s $run/network-plan ] && while read -r planned_mac step what gateway; do
        [ "$planned_mac" = "$mac" ] && apply_step
    done <$run/network-plan
    if [ -n "$planned_address" ]; then
        echo "$planned_address" >"$run/leases/$interface"
        join_resolvers
    else
        start_dhcp
    fi
}

apply_step() {
    case $step in
        mtu) ip link set "$interface" mtu "$what" ;;
        address) ip addr add "$what" broadcast + dev "$interface" && planned_address=$what ;;
        route)
            if [ "$gateway" = 0.0.0.0 ] || [ -z "$gateway" ]; then
                ip route replace "$what" dev "$interface"
            else
                ip route replace "$what" via "$gateway" dev "$interface"
            fi
            ;;
        dns) echo "nameserver $what" >>"$run/resolv/$interface" ;;
    esac
}

# Goes on in the background until there is a lease, and then keeps it.
start_dhcp() {
    udhcpc -b -S -i "$interface" -p "$run/udhcpc.$interface.pid" -s $library/dhcp-event \
        -t 3 -T 1 -A 5 -O staticroutes -O mtu -x "hostname:$(hostname)" >/dev/null 2>&1 &
}

forget_interface() {
    [ -e "$run/udhcpc.$1.pid" ] && kill "$(cat "$run/udhcpc.$1.pid")"
    rm -rf "$run/interface.$1" "$run/udhcpc.$1.pid" "$run/leases/$1" "$run/resolv/$1"
    join_resolvers
}

join_resolvers() {
    cat $run/resolv/* 2>/dev/null | awk '!seen[$0]++' >/etc/resolv.conf
}

# Waits until every interface has an address, for $1 seconds at the most.
wait_for_leases() {
    for _ in $(seq $(($1 * 10))); do
        missing=
        for interface in $(hardware_interfaces); do
            [ -s "$run/leases/$interface" ] || missing=$interface
        done
        [ -z "$missing" ] && return
        sleep 0.1
    done
}

show_addresses() {
    for interface in $(hardware_interfaces); do
        log "$interface $(cat "/sys/class/net/$interface/address"): $(cat "$run/leases/$interface" 2>/dev/null || echo 'no address yet')"
    done
}
