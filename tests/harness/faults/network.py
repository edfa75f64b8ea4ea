"""The way out, name servers, firewalls, packets, proxies and the time server."""

from harness.faults.model import ENGINE, Fault, firewall, stopped

NETWORK = (
    Fault(
        "no default route",
        "network",
        "offline",
        "ip route del default",
        "ip route add default via 10.99.0.254 dev uplink0",
        quick=True,
    ),
    Fault(
        "link down",
        "network",
        "offline",
        "ip link set uplink0 down",
        "ip link set uplink0 up; networkctl reconfigure uplink0; "
        "until ip route get 192.0.2.1 >/dev/null 2>&1; do :; done",
    ),
    Fault(
        "no name server",
        "network",
        "no name server",
        "systemctl stop systemd-resolved; cp /run/systemd/resolve/resolv.conf /var/faults/kept; "
        "echo '# none' >/run/systemd/resolve/resolv.conf",
        "rm /var/faults/kept; systemctl start systemd-resolved",
    ),
    stopped(
        "resolver stopped",
        "systemd-resolved.service",
        check="host-connect-iothub-mqtt",
        said="resolved",
    ),
    firewall(
        "name server silent",
        "OUTPUT ! -o lo -p udp --dport 53 -j DROP",
        "host-connect-iothub-mqtt",
        "resolved",
    ),
    firewall(
        "name server refuses",
        "OUTPUT ! -o lo -p udp --dport 53 -j REJECT",
        "host-connect-iothub-mqtt",
        "resolved",
    ),
    firewall(
        "hub unreachable by MQTT",
        "OUTPUT -p tcp --dport 8883 -j REJECT --reject-with tcp-reset",
        "host-connect-iothub-mqtt",
        "refused",
        quick=True,
    ),
    firewall(
        "hub unreachable by HTTPS",
        "OUTPUT -p tcp --dport 443 -j REJECT --reject-with tcp-reset",
        "host-connect-iothub-https",
        "refused",
    ),
    firewall(
        "packets to the hub lost",
        "OUTPUT -p tcp --dport 8883 -j DROP",
        "host-connect-iothub-mqtt",
        "time",
    ),
    firewall(
        "modules cannot reach the hub",
        "FORWARD -i br-+ -p tcp --dport 8883 -j REJECT",
        "container-connect-upstream-mqtt",
        "cannot reach",
    ),
    firewall(
        "modules cannot reach HTTPS",
        "FORWARD -i br-+ -p tcp --dport 443 -j REJECT",
        "container-connect-upstream-https",
        "cannot reach",
    ),
    firewall(
        "default network cut off",
        "FORWARD -i docker0 -p tcp --dport 8883 -j REJECT",
        "container-default-connect-upstream-mqtt",
        "cannot reach",
    ),
    Fault(
        "modules with a wrong name server",
        "container-connect-upstream-mqtt",
        "cannot reach",
        f"cp -a {ENGINE} /var/faults/kept; "
        f'sed -i \'1s/.*/{{"dns": ["10.99.0.9"],/\' {ENGINE}; systemctl restart docker',
        f"cp -a /var/faults/kept {ENGINE}; rm /var/faults/kept; systemctl restart docker",
        seconds=40,
    ),
    Fault(
        "packets are not forwarded",
        "forwarding",
        "forward",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        quick=True,
    ),
    Fault(
        "packets of 1400 bytes",
        "mtu",
        "1400",
        "ip link set uplink0 mtu 1400",
        "ip link set uplink0 mtu 1500",
    ),
    Fault(
        "packets of 900 bytes",
        "mtu",
        "900",
        "ip link set uplink0 mtu 900",
        "ip link set uplink0 mtu 1500; networkctl reconfigure uplink0; "
        "until ip route get 192.0.2.1 >/dev/null 2>&1; do :; done",
    ),
    Fault(
        "a proxy for one alone",
        "proxy-settings",
        "not the same",
        "mkdir -p /run/systemd/system/skerry-identityd.service.d; "
        "printf '[Service]\\nEnvironment=https_proxy=http://10.99.0.3:3128\\n' "
        ">/run/systemd/system/skerry-identityd.service.d/proxy.conf; systemctl daemon-reload",
        "rm -r /run/systemd/system/skerry-identityd.service.d; systemctl daemon-reload",
    ),
    firewall(
        "time server silent",
        "OUTPUT -p udp --dport 123 -j DROP",
        "host-local-time",
        "cannot be asked",
    ),
)
