"""Keys and certificates that are missing, damaged, closed, of another or out of their time."""

from harness.faults.model import MODE, REMOVED, Fault, put, secret

SECRETS = (
    secret(
        "identity key missing",
        "device.key.pem",
        REMOVED,
        "key-pairs-read",
        "device identity",
        quick=True,
    ),
    secret(
        "identity key damaged",
        "device.key.pem",
        put("garbage.pem"),
        "key-pairs-read",
        "device identity",
    ),
    secret(
        "identity key closed to keyd", "device.key.pem", MODE, "key-pairs-read", "device identity"
    ),
    secret(
        "identity key of another",
        "device.key.pem",
        put("other.key.pem"),
        "certs-match-private-keys",
        "another key",
    ),
    secret("identity certificate missing", "device.pem", REMOVED, "certs-read", "device identity"),
    secret(
        "identity certificate damaged",
        "device.pem",
        put("garbage.pem"),
        "certs-read",
        "device identity",
    ),
    secret(
        "identity certificate closed to certd", "device.pem", MODE, "certs-read", "device identity"
    ),
    secret(
        "identity certificate of another",
        "device.pem",
        put("other.pem"),
        "certs-match-private-keys",
        "another key",
    ),
    secret(
        "identity certificate expired",
        "device.pem",
        put("expired.pem"),
        "identity-certificate-expiry",
        "expired 1 day ago",
        quick=True,
    ),
    secret(
        "identity certificate expires soon",
        "device.pem",
        put("soon.pem"),
        "identity-certificate-expiry",
        "expires in",
    ),
    secret(
        "identity certificate of the future",
        "device.pem",
        put("future.pem"),
        "identity-certificate-expiry",
        "in the future",
    ),
    secret(
        "site CA expired",
        "site-ca.pem",
        put("expired-ca.pem"),
        "local-ca-certificate-expiry",
        "expired",
    ),
    secret("site CA missing", "site-ca.pem", REMOVED, "certs-read", "local CA"),
    secret("key of the site CA missing", "site-ca.key.pem", REMOVED, "key-pairs-read", "local CA"),
    secret(
        "key of the site CA of another",
        "site-ca.key.pem",
        put("other.key.pem"),
        "certs-match-private-keys",
        "local CA",
    ),
    secret(
        "wrong CA for the hub",
        "hub-ca.pem",
        put("other.pem"),
        "host-connect-iothub-mqtt",
        "not trusted",
    ),
    secret("CA of the hub missing", "hub-ca.pem", REMOVED, "certs-read", "hub-ca.pem"),
    secret("CA of the hub damaged", "hub-ca.pem", put("garbage.pem"), "certs-read", "hub-ca.pem"),
    Fault(
        "keys made here are gone",
        "key-pairs-read",
        "edge CA",
        "mv /var/lib/skerry/keyd/keys /var/faults/keys; systemctl stop skerry-keyd skerry-certd",
        "rm -rf /var/lib/skerry/keyd/keys; mv /var/faults/keys /var/lib/skerry/keyd/keys; "
        "systemctl stop skerry-keyd skerry-certd",
    ),
    Fault(
        "state of keyd belongs to root",
        "keyd-running",
        "keyd does not answer",
        "chown -R root: /var/lib/skerry/keyd/keys; systemctl stop skerry-keyd",
        "chown -R skerry-keys: /var/lib/skerry/keyd/keys; systemctl stop skerry-keyd",
    ),
    Fault(
        "state of certd belongs to root",
        "certs-read",
        "edge CA",
        "chown -R root: /var/lib/skerry/certd/certs; systemctl stop skerry-certd",
        "chown -R skerry-certs: /var/lib/skerry/certd/certs; systemctl stop skerry-certd",
    ),
)
