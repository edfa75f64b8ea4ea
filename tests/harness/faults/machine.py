"""Clock, disks, memory, journal, and the settings of the engine."""

from harness.faults.model import Fault, engine, small_disk

MACHINE = (
    Fault(
        "quartz drifts",
        "clock-trend",
        "drifts",
        "echo '412.5 0.1' >/var/lib/chrony/chrony.drift",
        "rm /var/lib/chrony/chrony.drift",
    ),
    Fault(
        "clock went back",
        "clock-trend",
        "went back",
        "touch -h -d '+2 days' /etc/skerry/current",
        "touch -h /etc/skerry/current",
    ),
    small_disk(
        "disk full",
        "size=8m",
        "head -c 16m /dev/zero >/run/fault/fill 2>/dev/null || true",
        "disk-space",
    ),
    small_disk(
        "no inode left",
        "size=1g,nr_inodes=2000",
        "mkdir /run/fault/many; seq -f /run/fault/many/%g 2000 | xargs touch 2>/dev/null || true",
        "disk-inodes",
    ),
    Fault(
        "memory low",
        "memory",
        "hardly any memory",
        "sed 's/MemAvailable:.*/MemAvailable: 20000 kB/' /proc/meminfo >/run/meminfo; "
        "mount --bind /run/meminfo /proc/meminfo",
        "umount /proc/meminfo",
        quick=True,
    ),
    Fault(
        "journal too large",
        "journal",
        "journal",
        "d=/var/log/journal/$(cat /etc/machine-id); mkdir -p $d; "
        "fallocate -l 1500m $d/system@fault.journal",
        "rm /var/log/journal/*/system@fault.journal",
    ),
    engine(
        "logs of modules unbounded",
        '{"log-driver": "json-file"}',
        "container-engine-logrotate",
        "for ever",
    ),
    engine("daemon.json damaged", "{", "container-engine-logrotate", "cannot be used"),
    engine(
        "firewall rules of the engine off",
        '{"log-driver": "local", "iptables": false}',
        "forwarding",
        "iptables",
    ),
    Fault(
        "wrong storage driver",
        "container-engine-storage",
        "vfs",
        "cp -a /etc/docker/daemon.json /var/faults/kept; "
        'printf \'{"storage-driver": "vfs", "log-driver": "local"}\' >/etc/docker/daemon.json; '
        "systemctl restart docker",
        "cp -a /var/faults/kept /etc/docker/daemon.json; systemctl restart docker; "
        "systemctl restart skerry-edged",
        seconds=30,
    ),
)
