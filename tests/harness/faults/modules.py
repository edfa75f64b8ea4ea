"""Images and modules."""

from harness.faults.model import APPLY, DEPLOY, MGMT, WORKLOAD, Fault, replaced

_IMAGES = "/usr/lib/skerry/images"
_SENSOR = 'image = "localhost/skerry/sample-sensor:0.1.0"'
_THIEF = "systemd-run --quiet --collect --unit=fault python3 -m http.server 8080"


def deployed(name: str, module: str, check: str, said: str, before: str = "true") -> Fault:
    """Apply a configuration with one more module, called bad; the former one is applied again."""
    return Fault(
        name,
        check,
        said,
        f"{before}; cp -a {DEPLOY} /var/faults/kept; "
        f"printf '%b' '[modules.bad]\\n{module}\\n' >>{DEPLOY}; {APPLY}",
        f"cp -a /var/faults/kept {DEPLOY}; rm /var/faults/kept; {APPLY}",
        seconds=90,
    )


MODULES = (
    Fault(
        "image not loaded",
        "preloaded-images",
        "not in the engine",
        "docker rmi localhost/skerry/diagnostics:0.1.0 >/dev/null",
        f"docker load -qi {_IMAGES}/diagnostics.tar >/dev/null",
        quick=True,
    ),
    replaced(
        "archive cut off",
        f"{_IMAGES}/sample-sensor.tar",
        f"truncate -s 1000 {_IMAGES}/sample-sensor.tar",
        "preloaded-images",
        "1000 bytes",
    ),
    replaced(
        "archive lost",
        f"{_IMAGES}/agent.tar",
        f"rm {_IMAGES}/agent.tar",
        "preloaded-images",
        "cannot be read",
    ),
    replaced(
        "list of images damaged",
        f"{_IMAGES}/preload.json",
        f"echo '{{' >{_IMAGES}/preload.json",
        "preloaded-images",
        "preload.json",
    ),
    Fault(
        "secret damaged",
        "module-secrets",
        "cannot be used",
        "cp -a /var/lib/skerry/edged/imported /var/faults/kept; "
        "for one in /var/lib/skerry/edged/imported/site-key-*; do echo x >$one; done",
        "rm -r /var/lib/skerry/edged/imported; mv /var/faults/kept /var/lib/skerry/edged/imported",
        quick=True,
    ),
    Fault(
        "module paused",
        "module-health",
        "paused",
        "docker pause sample-sensor >/dev/null",
        "docker unpause sample-sensor >/dev/null",
        quick=True,
    ),
    Fault(
        "agent gone and nobody to make it",
        "module-health",
        "no container",
        f"systemctl stop skerry-edged.service {MGMT} {WORKLOAD}; docker rm -f edgeAgent >/dev/null",
        f"systemctl start {MGMT} {WORKLOAD} skerry-edged.service",
    ),
    Fault(
        "port of a module taken",
        "port-conflicts",
        "8080/tcp",
        "systemctl stop skerry-edged.service; docker rm -f edgeAgent sample-sensor >/dev/null; "
        f"{_THIEF}; systemctl start skerry-edged.service",
        "systemctl stop fault",
        seconds=30,
    ),
    deployed(
        "module starts and ends",
        f'{_SENSOR}\\ncreateOptions = {{ Entrypoint = ["python3", "-c", "exit(3)"] }}',
        "deployment-status",
        "bad",
    ),
    deployed(
        "image that does not exist",
        'image = "localhost:5000/none:1"',
        "deployment-status",
        "none:1",
    ),
    deployed(
        "image for another machine",
        'image = "local/other:1"\\nimagePullPolicy = "never"',
        "image-architecture",
        "s390x",
        "tar -cf /run/other.tar --files-from=/dev/null; "
        "docker import --platform linux/s390x /run/other.tar local/other:1 >/dev/null",
    ),
    deployed(
        "module never ready",
        f'{_SENSOR}\\n[modules.bad.readiness]\\ntype = "tcp"\\nport = 9\\ntimeoutSeconds = 3',
        "deployment-status",
        "bad",
    ),
)
