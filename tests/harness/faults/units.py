"""Native services, engine, clock and journal that are stopped, masked, crashing or out of reach."""

from harness.faults.model import MGMT, WORKLOAD, Fault, crashing, masked, stopped

UNITS = (
    stopped(
        "engine stopped",
        "docker.socket",
        "docker.service",
        check="container-engine-uri",
        said="docker.sock",
        quick=True,
    ),
    masked(
        "engine masked",
        "docker.socket",
        "docker.service",
        check="container-engine-uri",
        said="docker.sock",
    ),
    stopped(
        "edged stopped",
        "skerry-edged.service",
        MGMT,
        check="edged-running",
        said="edged",
    ),
    masked(
        "edged masked", "skerry-edged.service", MGMT, WORKLOAD, check="service-units", said="masked"
    ),
    stopped(
        "keyd without socket",
        "skerry-keyd.socket",
        "skerry-keyd.service",
        check="keyd-running",
        said="keyd",
    ),
    stopped(
        "certd without socket",
        "skerry-certd.socket",
        "skerry-certd.service",
        check="certd-running",
        said="certd",
    ),
    stopped(
        "identityd without socket",
        "skerry-identityd.socket",
        "skerry-identityd.service",
        check="identityd-running",
        said="identityd",
    ),
    Fault(
        "socket of keyd deleted",
        "keyd-running",
        "no socket",
        "rm /run/skerry/keyd.sock",
        "systemctl restart skerry-keyd.socket",
    ),
    crashing("edged", "service-units", "edged"),
    crashing("identityd", "identityd-running", "identityd"),
    crashing("keyd", "keyd-running", "keyd"),
    Fault(
        "management socket with wrong rights",
        "connect-management-uri",
        "permission denied",
        "chown root:root /run/skerry/mgmt.sock; chmod 600 /run/skerry/mgmt.sock",
        f"systemctl stop skerry-edged; systemctl restart {MGMT}; systemctl start skerry-edged",
        quick=True,
    ),
    stopped(
        "time service stopped",
        "chrony.service",
        check="clock-trend",
        said="no time service",
    ),
    masked("time service masked", "chrony.service", check="clock-trend", said="no time service"),
    stopped(
        "journal stopped",
        "systemd-journald.socket",
        "systemd-journald-dev-log.socket",
        "systemd-journald.service",
        check="journal",
        said="journal",
    ),
)
