# Reads network_data.json as lines of json-lines.awk and prints what to do for each interface, one
# step a line with the interface's hardware address in front:
#
#   fa:16:3e:00:00:01 mtu 1450
#   fa:16:3e:00:00:01 address 10.0.0.7/24
#   fa:16:3e:00:00:01 route 0.0.0.0/0 10.0.0.1
#   fa:16:3e:00:00:01 dns 10.0.0.2
#
# An interface without an address line is left to DHCP.

BEGIN { FS = "\t" }

{
    at[$1] = $2
    split($1, part, "/")
    if (part[2] + 1 > count[part[1]]) count[part[1]] = part[2] + 1
    if (part[3] == "routes" && part[4] + 1 > routes[part[2]]) routes[part[2]] = part[4] + 1
    if (part[1] == "networks" && part[3] == "services" && part[4] + 1 > services[part[2]])
        services[part[2]] = part[4] + 1
}

END {
    for (i = 0; i < count["links"]; i++) link("links/" i)
}

function link(path,    mac, i) {
    mac = tolower(at[path "/ethernet_mac_address"])
    if (mac == "") return
    if (at[path "/mtu"] + 0 > 0) print mac, "mtu", at[path "/mtu"]
    for (i = 0; i < count["networks"]; i++)
        if (at["networks/" i "/link"] == at[path "/id"] && at["networks/" i "/type"] == "ipv4")
            network(mac, i)
}

function network(mac, n,    path, i) {
    path = "networks/" n
    print mac, "address", with_prefix(at[path "/ip_address"], at[path "/netmask"])
    for (i = 0; i < routes[n]; i++)
        print mac, "route", with_prefix(at[path "/routes/" i "/network"], at[path "/routes/" i "/netmask"]), at[path "/routes/" i "/gateway"]
    if (!routes[n] && at[path "/gateway"] != "") print mac, "route", "0.0.0.0/0", at[path "/gateway"]
    for (i = 0; i < services[n]; i++) nameserver(mac, path "/services/" i)
    for (i = 0; i < count["services"]; i++) nameserver(mac, "services/" i)
}

function nameserver(mac, path) {
    if (at[path "/type"] == "dns") print mac, "dns", at[path "/address"]
}

# "10.0.0.7" and "255.255.255.0" give "10.0.0.7/24"; an address that has its prefix keeps it.
function with_prefix(address, mask,    octet, bits, i, rest) {
    if (address ~ /\//) return address
    if (mask == "") return address "/32"
    split(mask, octet, ".")
    for (i = 1; i <= 4; i++)
        for (rest = octet[i] + 0; rest >= 128; rest = (rest - 128) * 2) bits++
    return address "/" (bits + 0)
}
