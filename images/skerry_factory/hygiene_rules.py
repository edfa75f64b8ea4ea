"""What must never be in an image, as data: names, forms of text, and forms of files.

Each rule has the reason that an operator is told. There is no list of exceptions: a rule that fires
on a clean tree is a wrong rule.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class NameRule:
    """Paths that must not exist, or must be empty; `*` matches '/' too."""

    pattern: str
    reason: str
    may_be_empty: bool = False


@dataclass(frozen=True)
class TextRule:
    """Text that must not occur in files whose path fits `files`."""

    expression: "re.Pattern[bytes]"
    reason: str
    files: str = "*"


SECRET_NAMES = (
    NameRule("etc/ssh/ssh_host_*", "SSH host key; each device makes its own"),
    NameRule("*/ssh_host_*_key*", "SSH host key; each device makes its own"),
    NameRule("machine-id", "identity of one machine"),
    NameRule("etc/machine-id", "identity of one machine", may_be_empty=True),
    NameRule("var/lib/dbus/machine-id", "identity of one machine"),
    NameRule("var/lib/systemd/random-seed", "random seed; the same on every device"),
    NameRule("*/random-seed", "random seed; the same on every device"),
    NameRule("etc/hostid", "identity of one machine"),
    NameRule("etc/nvme/host*", "identity of one machine"),
    NameRule("var/lib/systemd/credential.secret", "secret of one machine"),
    NameRule("etc/credstore*/*", "credential of a service"),
    NameRule("var/lib/cloud/*", "cloud instance data"),
    NameRule("etc/NetworkManager/system-connections/*", "network secret"),
    NameRule("etc/wpa_supplicant/*.conf", "network secret"),
    NameRule("var/lib/iwd/*", "network secret"),
    NameRule("*.psk", "network secret"),
    NameRule("*.keytab", "Kerberos keys"),
    NameRule("*.p12", "store of private keys"),
    NameRule("*.pfx", "store of private keys"),
    NameRule("*.kdbx", "store of passwords"),
    NameRule("*.ppk", "private SSH key"),
    NameRule("var/lib/samba/private/*", "secrets of Samba"),
    NameRule("etc/sasldb2", "passwords"),
    NameRule("*/.bash_history", "shell history"),
    NameRule("*/.zsh_history", "shell history"),
    NameRule("*/.local/share/fish/fish_history", "shell history"),
    NameRule("*/.python_history", "shell history"),
    NameRule("*/.node_repl_history", "shell history"),
    NameRule("*/.mysql_history", "shell history"),
    NameRule("*/.psql_history", "shell history"),
    NameRule("*/.sqlite_history", "shell history"),
    NameRule("*/.rediscli_history", "shell history"),
    NameRule("*/.lesshst", "history"),
    NameRule("*/.viminfo", "history"),
    NameRule("*/.wget-hsts", "history"),
    NameRule("*/.netrc", "credentials"),
    NameRule("*/.git-credentials", "credentials"),
    NameRule("*/.pgpass", "credentials"),
    NameRule("*/.my.cnf", "credentials"),
    NameRule("*/.pypirc", "credentials"),
    NameRule("*/.boto", "credentials"),
    NameRule("*/.s3cfg", "credentials"),
    NameRule("*/.vault-token", "credentials"),
    NameRule("*/.docker/config.json", "credentials"),
    NameRule("*/containers/auth.json", "credentials"),
    NameRule("*/.kube/config", "credentials"),
    NameRule("etc/rancher/*/*.yaml", "credentials"),
    NameRule("*/.aws/*", "credentials"),
    NameRule("*/.azure/*", "credentials"),
    NameRule("*/.config/gcloud/*", "credentials"),
    NameRule("*/.config/gh/hosts.yml", "credentials"),
    NameRule("*/.config/rclone/rclone.conf", "credentials"),
    NameRule("*/.terraform.d/credentials*", "credentials"),
    NameRule("*/.cargo/credentials*", "credentials"),
    NameRule("*/.gem/credentials", "credentials"),
    NameRule("*/.vnc/passwd", "credentials"),
    NameRule("*/.Xauthority", "credentials"),
    NameRule("*/.ssh/id_*", "private SSH key"),
    NameRule("*/.ssh/known_hosts", "hosts that the builder knows"),
    NameRule("*/.gnupg/*", "private keyring"),
    NameRule("*/.rnd", "random seed; the same on every device"),
)
"""Kept out of containers too."""

TREE_NAMES = (
    NameRule("ssh", "SSH host keys; each device makes its own", may_be_empty=True),
    NameRule("etc/hostname", "host name of one machine", may_be_empty=True),
    NameRule("etc/adjtime", "clock drift of one machine"),
    NameRule("var/lib/dhcp/*", "network lease of one machine"),
    NameRule("var/lib/NetworkManager/*", "network state of one machine"),
    NameRule("etc/resolv.conf.*", "resolver of the build machine"),
    NameRule("*/.ansible*", "left-over of Ansible"),
    NameRule("tmp/*", "temporary file"),
    NameRule("var/tmp/*", "temporary file"),
    NameRule("run/*", "run-time file"),
    NameRule("root/[!.]*", "file of an administrator"),
    NameRule("*/.cache/*", "cache of a user"),
    NameRule("var/log/journal/*", "log of the build"),
    NameRule("var/log/apt/*", "log of the build"),
    NameRule("var/log/*.log", "log of the build"),
    NameRule("var/log/[bw]tmp*", "log-ins"),
    NameRule("var/log/lastlog", "log-ins"),
    NameRule("var/cache/apt/*", "package cache"),
    NameRule("var/cache/skerry-build*", "files of the build"),
    NameRule("var/lib/apt/lists/*", "package lists"),
    NameRule("var/crash/*", "crash dump"),
    NameRule("var/lib/systemd/coredump/*", "crash dump"),
    NameRule("var/cache/ldconfig/aux-cache", "cache with times of the build"),
    NameRule("*.dpkg-old", "left-over of the package manager"),
    NameRule("*.swp", "left-over of an editor"),
    NameRule("*~", "left-over of an editor"),
    NameRule("etc/*.pyc", "compiled Python outside of a package"),
    NameRule("etc/skerry/generations/*", "configuration of one device"),
    NameRule("etc/skerry/config.toml", "configuration of one device"),
    NameRule("etc/skerry/ssh/*", "keys of one site"),
    NameRule("lib/skerry/*/*", "state of one device"),
    NameRule("lib/docker/*", "containers of one device"),
    NameRule("lib/containerd/*", "containers of one device"),
)
"""Of the image itself: left over from the build, or of one device."""

# the markers are split so that this file is no finding of itself
BEGIN = b"-----BEGIN "
KEY_TEXT = TextRule(
    re.compile(
        BEGIN + rb"(?:RSA |EC |DSA |ENCRYPTED |OPENSSH |TSS2 |PGP |SSH2 ENCRYPTED )?"
        rb"PRIVATE KEY(?: BLOCK)?-----\s+[A-Za-z0-9+/=:, \r\n-]{40}"
        rb"|" + BEGIN + rb"OpenVPN Static key V1-----\s+[0-9a-f]{16}"
        rb"|PuTTY-User-Key-" + rb"File-[23]: "
        rb"|minisign encrypted " + rb"secret key\s+\S{40}"
        rb"|AGE-SECRET-" + rb"KEY-1[0-9A-Z]{50,}"
    ),
    "private key",
)
KEY_TEXT_HINTS = (BEGIN, b"PuTTY-User-Key-", b"minisign encrypted ", b"AGE-SECRET-")
"""One of them is in every text that KEY_TEXT fits; looking for these is quick."""

KEY_FILE = re.compile(
    # DER: PKCS#8 of any algorithm, PKCS#1, SEC 1; then key stores of Java and of GnuPG
    rb"0(?:\x82..|\x81.|.)\x02\x01\x00(?:0[\x05-\x20]\x06|\x02\x82..\x00)"
    rb"|0(?:\x81.|.)\x02\x01\x01\x04[\x20\x30\x42]"
    rb"|\xfe\xed\xfe\xed\x00\x00\x00[\x01\x02]",
    re.DOTALL,
)
"""How a file begins that is a private key."""


def _any_of(tokens: tuple[bytes, ...]) -> "re.Pattern[bytes]":
    """Return one expression for all: a text is gone through once, not for each."""
    return re.compile(rb"(?<![A-Za-z0-9_-])(?:" + b"|".join(tokens) + rb")")


CLOUD_KEYS = (
    rb"A[KS]IA[0-9A-Z]{16}\b",
    rb"AIza[0-9A-Za-z_-]{35}\b",
    rb"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
)
TOKENS = (
    rb"gh[pousr]_[A-Za-z0-9]{36,}\b",
    rb"github_pat_[A-Za-z0-9_]{40,}\b",
    rb"glpat-[A-Za-z0-9_-]{20,}",
    rb"xox[abpers]-[0-9A-Za-z-]{20,}",
    rb"npm_[A-Za-z0-9]{36}\b",
    rb"pypi-AgE[A-Za-z0-9_-]{50,}",
    rb"dckr_pat_[A-Za-z0-9_-]{20,}",
    rb"hf_[A-Za-z]{30,}\b",
    rb"hv[sb]\.[A-Za-z0-9_-]{24,}",
    rb"[rs]k_live_[A-Za-z0-9]{20,}",
    rb"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}",
    rb"shp(?:at|ss)_[a-f0-9]{32}\b",
    rb"do[op]_v1_[a-f0-9]{64}\b",
    rb"dapi[a-f0-9]{32}\b",
    rb"glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}\b",
    rb"sk-(?:ant-|proj-)[A-Za-z0-9_-]{30,}",
    rb"\d{8,10}:AA[A-Za-z0-9_-]{33}\b",
    rb"K10[a-f0-9]{64}::",
)

TEXT_RULES = (
    TextRule(_any_of(CLOUD_KEYS), "cloud access key"),
    TextRule(_any_of(TOKENS), "access token"),
    TextRule(re.compile(rb"SharedAccessKey=[A-Za-z0-9+/]{16,}"), "connection string with a key"),
    TextRule(re.compile(rb"SharedAccessSignature sr=[^\s<{]+&sig=[A-Za-z0-9%]{16,}"), "SAS token"),
    TextRule(re.compile(rb"[?&]sv=20[0-9-]{8}&[^\s\"']*sig=[A-Za-z0-9%]{20,}"), "SAS token"),
    TextRule(re.compile(rb"AccountKey=[A-Za-z0-9+/]{32,}"), "storage account key"),
    TextRule(
        re.compile(rb"(?i);\s*(?:password|pwd)=[^;\s\"'{}<$]{6,}"),
        "connection string with a password",
    ),
    TextRule(re.compile(rb"hooks\.slack\.com/services/T\w{8,}/B\w{8,}/\w{20,}"), "access token"),
    TextRule(re.compile(rb"\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"), "JSON web token"),
    TextRule(re.compile(rb"://[^/\s:@]{0,64}:[^/\s:@$<{]{6,}@[a-z0-9]"), "address with a password"),
    TextRule(
        re.compile(rb"(?im)^[ \t]*(?:wpa_)?(?:psk|passphrase)=\"?[^\s\"#]{8,}"), "network secret"
    ),
    TextRule(re.compile(rb"(?m)^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{42,}="), "private key"),
    TextRule(
        re.compile(rb'"kty"\s*:[^}]*"d"\s*:\s*"[\w-]{30,}"|"d"\s*:\s*"[\w-]{30,}"[^}]*"kty"'),
        "private key",
    ),
    TextRule(re.compile(rb"(?i)authorization: *(?:basic|bearer) +[\w+/=.-]{12,}"), "access token"),
    TextRule(re.compile(rb"client-key-data: *[A-Za-z0-9+/=]{40,}"), "private key"),
    TextRule(re.compile(rb"\$ANSIBLE_VAULT;"), "secrets, sealed with a password"),
    TextRule(
        re.compile(rb"(?m)^[^:\n#]{1,64}:(?:\$apr1\$|\$2[aby]\$|\{SHA\})\S{16,}"), "password hash"
    ),
    TextRule(re.compile(rb"_(?:authToken|auth|password)[ \t]*=[ \t]*[\w+/=-]{12,}"), "credentials"),
    TextRule(re.compile(rb"(?m)^[ \t]*secret[ \t]+\"?[A-Za-z0-9+/]{20,}=*\"?;"), "shared secret"),
)
"""Looked for in configuration, state, homes and applications; see hygiene.is_configuration."""

FILE_RULES = (
    TextRule(
        re.compile(rb"(?m)^InitiatorName=\S"),
        "identity of one machine",
        "etc/iscsi/initiatorname.iscsi",
    ),
    TextRule(re.compile(rb"(?m)^[^:\n]+:[^:!*\n]"), "password hash", "etc/shadow*"),
    TextRule(re.compile(rb"(?m)^[^:\n]+:[^:!*\n]"), "password hash", "etc/gshadow*"),
    TextRule(re.compile(rb"(?m)^[^:\n]+:[^:x!*\n][^:\n]{12,}:"), "password hash", "etc/passwd*"),
    TextRule(re.compile(rb"(?im)^[ \t-]*password: *\S"), "network secret", "etc/netplan/*"),
    TextRule(
        re.compile(rb"(?m)\b(?:PSK|RSA|ECDSA|EAP|XAUTH) +[\"{0s]"),
        "network secret",
        "*ipsec.secrets",
    ),
    TextRule(re.compile(rb"(?m)^[^#\s]\S*\s+\S+\s+\S{4,}"), "network secret", "etc/ppp/*-secrets"),
    TextRule(re.compile(rb"(?im)\bpassword +\S"), "credentials", "etc/apt/auth.conf*"),
    TextRule(re.compile(rb"(?m)^[ \t]*createUser +\S+ +\S+ +\S"), "credentials", "*snmpd.conf"),
    TextRule(re.compile(rb"(?im)^[ \t]*password[ \t]*=[ \t]*\S"), "credentials", "*my.cnf"),
    TextRule(
        re.compile(rb"(?im)^[ \t]*_(?:authToken|auth|password)[ \t]*="), "credentials", "*npmrc"
    ),
)
"""Looked for in the files that they name, wherever these are."""

SECRET_ASSIGNMENT = re.compile(
    rb"(?im)^[ \t\"'-]*(?:export +)?(?:[a-z0-9]+[_.-])*(?:password|passwd|passphrase|secret|token|"
    rb"api_?key|primary_key|secret_?access_?key|access_?key|private_?key|client_?secret)"
    rb"[\"']?[ \t]*[=:][ \t]*[\"']?([A-Za-z0-9+/_=-]{20,})"
)
MAX_PLAIN_ENTROPY_BITS = 4.0
"""What a value after such a name may have; words have less, random characters more."""
