"""Settings that are wrong, changed, lost or not applied, and names that do not fit."""

from harness.faults.model import DEPLOY, SUPER, Fault, again, replaced, settings
from harness.site import NAME

SETTINGS = (
    *(
        settings(
            f"settings of {service} are no TOML",
            service,
            "= nonsense",
            check,
            "refuses its settings",
        )
        for service, check in (
            ("keyd", "keyd-config-well-formed"),
            ("certd", "certd-config-well-formed"),
            ("identityd", "identityd-config-well-formed"),
            ("tpmd", "tpmd-config-well-formed"),
            ("edged", "aziot-edged-config-well-formed"),
        )
    ),
    settings(
        "a number for a name", "edged", "hostname = 5", "aziot-edged-config-well-formed", "hostname"
    ),
    settings(
        "settings changed under edged",
        "edged",
        "[watchdog]\\nmax_retries = 3\\n",
        "config-up-to-date",
        "older settings",
    ),
    settings(
        "settings changed under identityd",
        "identityd",
        "cloud_retries = 3\\n",
        "configs-up-to-date",
        "older settings",
    ),
    settings(
        "certificate from nowhere",
        "edged",
        '[edge_ca]\\ncert = "nowhere"\\n',
        "certs-preloaded",
        "neither preloaded",
        restart=True,
    ),
    settings(
        "IPv6 wanted, engine without",
        "edged",
        '[moby_runtime]\\nnetwork = { name = "azure-iot-edge", ipv6 = true }\\n',
        "container-engine-ipv6",
        "IPv6 off",
    ),
    settings(
        "parent with a bad name",
        "identityd",
        '[provisioning]\\nlocal_gateway_hostname = "my_parent"\\n',
        "parent_hostname",
        "RFC 1035",
    ),
    settings(
        "parent nobody knows",
        "identityd",
        '[provisioning]\\nlocal_gateway_hostname = "parent.test"\\n',
        "container-resolve-parent-hostname",
        "cannot resolve",
    ),
    settings(
        "EST server away",
        "certd",
        '[cert_issuance.est.urls]\\ndefault = "https://hub.test:444/est"\\n',
        "est-server-https",
        "refused",
    ),
    settings(
        "TPM gone",
        "identityd",
        '[provisioning]\\nsource = "dps"\\nglobal_endpoint = "https://hub.test"\\n'
        'scope_id = "0ne"\\n'
        '[provisioning.attestation]\\nmethod = "tpm"\\nregistration_id = "x"\\n',
        "tpm-state",
        "there is none",
    ),
    settings(
        "DPS nobody knows",
        "identityd",
        '[provisioning]\\nsource = "dps"\\nglobal_endpoint = "https://dps.test"\\n'
        'scope_id = "0ne"\\n'
        '[provisioning.attestation]\\nmethod = "x509"\\nregistration_id = "x"\\n'
        'identity_cert = "device-id"\\nidentity_pk = "device-id"\\n',
        "host-connect-dps-endpoint",
        "resolved",
    ),
    replaced(
        "link to the settings of certd lost",
        f"/etc/skerry/certd/{SUPER}",
        f"rm /etc/skerry/certd/{SUPER}",
        "certd-config-well-formed",
        "is missing",
    ),
    Fault(
        "configuration in force lost",
        "configuration",
        "leads nowhere",
        "ln -sfn generations/99 /etc/skerry/current",
        "ln -sfn generations/1 /etc/skerry/current",
    ),
    Fault(
        "no configuration in force",
        "configuration",
        "does not exist",
        "rm /etc/skerry/current",
        "ln -sfn generations/1 /etc/skerry/current",
    ),
    replaced(
        "generation edited by hand",
        "/etc/skerry/generations/1/edged.toml",
        "echo >>/etc/skerry/generations/1/edged.toml",
        "generation-intact",
        "not as it was written",
        "systemctl restart skerry-edged",
    ),
    replaced(
        "file of the generation lost",
        "/etc/skerry/generations/1/tpmd.toml",
        "rm /etc/skerry/generations/1/tpmd.toml",
        "generation-intact",
        "not as it was written",
    ),
    replaced(
        "manifest unreadable",
        "/etc/skerry/generations/1/deployment.json",
        "printf '{' >/etc/skerry/generations/1/deployment.json",
        "manifest-valid",
        "cannot be used",
    ),
    replaced(
        "config.toml is no TOML",
        DEPLOY,
        f"echo '= x' >>{DEPLOY}",
        "config-valid",
        "1 problem",
    ),
    replaced(
        "config.toml with an unknown key",
        DEPLOY,
        f"sed -i 1i'hostnam = \"x\"' {DEPLOY}",
        "config-valid",
        "problem",
    ),
    replaced(
        "config.toml not applied",
        DEPLOY,
        f"sed -i s/expiry_days.*/'expiry_days = 30'/ {DEPLOY}",
        "configs-up-to-date",
        "changed after it was applied",
        quick=True,
    ),
    Fault(
        "host name changed", "hostname", "'other'", "hostname other", f"hostname {NAME}", quick=True
    ),
    Fault(
        "settings closed to keyd",
        "keyd-running",
        "keyd",
        "chmod 600 /etc/skerry/generations/1/keyd.toml; "
        "chown root: /etc/skerry/generations/1/keyd.toml; "
        "systemctl restart skerry-keyd || true",
        "chmod 640 /etc/skerry/generations/1/keyd.toml; "
        "chown root:skerry-keys /etc/skerry/generations/1/keyd.toml; " + again("keyd"),
    ),
    Fault(
        "another version expected",
        "aziot-edge-version",
        "expected 9.9",
        "true",
        "true",
        arguments=("--expected-aziot-edged-version", "9.9.0"),
    ),
    Fault(
        "another identity version expected",
        "aziot-version",
        "expected 9.9",
        "true",
        "true",
        arguments=("--expected-aziot-version", "9.9.0"),
    ),
)
