"""Planted secrets: more than fifty kinds, each as one file of a tree or of a container's layer.

All are made up, from pieces, so that none is of use anywhere and no scanner takes it for one.
"""

import base64
import json
import random

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

RANDOM = random.Random(11)  # noqa: S311 - made-up secrets must be the same in every run
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HEX = "0123456789abcdef"


def noise(length: int, alphabet: str = LETTERS) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(length))


def b64(length: int) -> str:
    return base64.b64encode(RANDOM.randbytes(length)).decode()


def pem(kind: str, head: str = "") -> str:
    return f"-----BEGIN {kind}-----\n{head}{b64(48)}\n{b64(48)}\n-----END {kind}-----\n"


def der(key: "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey") -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def der_sec1(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


_EC = ec.generate_private_key(ec.SECP256R1())
_JWK = json.dumps({"kty": "EC", "crv": "P-256", "x": noise(43), "d": noise(43)})

SECRETS: dict[str, tuple[str, str | bytes]] = {
    "PKCS#8 key": ("etc/ssl/private/a.pem", pem("PRIVATE KEY")),
    "PKCS#1 key": ("srv/a/server.key", pem("RSA PRIVATE KEY")),
    "SEC 1 key": ("opt/a/ec.pem", pem("EC PRIVATE KEY")),
    "DSA key": ("etc/a/dsa.pem", pem("DSA PRIVATE KEY")),
    "encrypted PKCS#8 key": ("etc/a/enc.pem", pem("ENCRYPTED PRIVATE KEY")),
    "encrypted PKCS#1 key": (
        "etc/a/old.pem",
        pem(
            "RSA PRIVATE KEY", f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,{noise(32, HEX)}\n\n"
        ),
    ),
    "OpenSSH key": ("srv/deploy/deploy_key", pem("OPENSSH PRIVATE KEY")),
    "PGP key": ("srv/a/sign.asc", pem("PGP PRIVATE KEY BLOCK", "\n")),
    "TPM key file": ("etc/a/tpm.pem", pem("TSS2 PRIVATE KEY")),
    "PuTTY key": ("srv/a/key.txt", "PuTTY-User-Key-" + "File-3: ssh-ed25519\nEncryption: none\n"),
    "age key": (
        "root/.config/age.txt",
        "AGE-SECRET-" + "KEY-1" + noise(58, LETTERS.upper()) + "\n",
    ),
    "minisign key": (
        "srv/a/mini.key",
        "untrusted comment: minisign encrypted secret key\n" + b64(60),
    ),
    "OpenVPN static key": (
        "etc/openvpn/ta.key",
        "-----BEGIN OpenVPN Static key V1-----\n" + noise(32, HEX) + "\n",
    ),
    "WireGuard key": ("etc/wireguard/wg0.conf", f"[Interface]\nPrivateKey = {b64(32)}\n"),
    "JSON web key": ("etc/a/jwk.json", _JWK),
    "DER PKCS#8 EC key": ("usr/share/a/key.bin", der(_EC)),
    "DER SEC 1 key": ("usr/share/a/sec1.bin", der_sec1(_EC)),
    "DER Ed25519 key": ("usr/share/a/ed.bin", der(ed25519.Ed25519PrivateKey.generate())),
    "Java key store": ("opt/a/trust.jks", b"\xfe\xed\xfe\xed\0\0\0\2" + bytes(40)),
    "PKCS#12 store": ("opt/a/site.p12", b"0\x82\x01\x00\x02\x01\x03"),
    "Kerberos keytab": ("etc/krb5.keytab", b"\x05\x02\0\0\0\x3b"),
    "SSH host key": ("etc/ssh/ssh_host_ed25519_key", pem("OPENSSH PRIVATE KEY")),
    "SSH user key": ("home/tech/.ssh/id_rsa", pem("RSA PRIVATE KEY")),
    "GnuPG keyring": ("root/.gnupg/private-keys-v1.d/A.key", "(protected-private-key"),
    "machine id": ("etc/machine-id", noise(32, HEX) + "\n"),
    "iSCSI name": ("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.x:01:ab\n"),
    "NVMe host id": ("etc/nvme/hostid", "5f0e3b52-8f3a-4f0c-9d8e-1f2a3b4c5d6e\n"),
    "random seed": ("var/lib/systemd/random-seed", noise(512)),
    "systemd credential": ("etc/credstore/db.password", noise(20)),
    "password hash": ("etc/shadow", f"root:$y$j9T${noise(22)}${noise(43)}:19000::::::\n"),
    "old password hash": ("etc/shadow-", f"root:$1${noise(8)}${noise(22)}:19000::::::\n"),
    "group password": ("etc/gshadow", f"sudo:$6${noise(8)}${noise(40)}::\n"),
    "password in passwd": ("etc/passwd", f"root:{noise(13)}:0:0:root:/root:/bin/sh\n"),
    "htpasswd": ("srv/www/users", f"admin:$apr1${noise(8)}${noise(22)}\n"),
    "bash history": ("home/tech/.bash_history", "ls\n"),
    "zsh history": ("root/.zsh_history", ": 1:0;ls\n"),
    "psql history": ("home/tech/.psql_history", "select 1;\n"),
    "vim history": ("root/.viminfo", "# x\n"),
    "netrc": ("root/.netrc", "machine x login y password z\n"),
    "git credentials": ("home/tech/.git-credentials", f"https://u:{noise(12)}@git.example\n"),
    "pgpass": ("home/tech/.pgpass", "h:5432:d:u:p\n"),
    "my.cnf": ("etc/mysql/my.cnf", "[client]\npassword = short\n"),
    "docker login": ("root/.docker/config.json", '{"auths": {"r": {"auth": "dTpw"}}}'),
    "podman login": ("root/.config/containers/auth.json", '{"auths": {}}'),
    "kubeconfig": ("etc/kubernetes/admin.conf", f"  client-key-data: {b64(60)}\n"),
    "cluster token": ("var/lib/rancher/token", f"K10{noise(64, HEX)}::server:{noise(20)}\n"),
    "npm token": ("opt/app/.npmrc", f"//r.example/:_authToken={noise(24)}\n"),
    "npm token by form": ("opt/app/env.sh", f"T=npm_{noise(36)}\n"),
    "PyPI token": ("opt/app/pip.cfg", f"x pypi-AgE{noise(60)}\n"),
    "pip index with a password": (
        "etc/pip.conf",
        f"[global]\nindex-url = https://u:{noise(12)}@p.example/simple\n",
    ),
    "apt login": ("etc/apt/auth.conf.d/x.conf", "machine a.example login u password p\n"),
    "Wi-Fi of wpa_supplicant": ("etc/wpa_supplicant/wpa_supplicant-wlan0.conf", "network={}\n"),
    "Wi-Fi key elsewhere": (
        "etc/wifi/site.conf",
        'network={\n  ssid="x"\n  psk="correct-horse"\n}\n',
    ),
    "Wi-Fi of NetworkManager": ("etc/NetworkManager/system-connections/x.nmconnection", "[wifi]\n"),
    "Wi-Fi of iwd": ("var/lib/iwd/site.psk", "[Security]\n"),
    "Wi-Fi of netplan": ("etc/netplan/50-wifi.yaml", 'wifis:\n  w:\n    password: "short"\n'),
    "access point": ("etc/hostapd/hostapd.conf", "wpa_passphrase=plantfloor7\n"),
    "IPsec secret": ("etc/ipsec.secrets", ': PSK "plantfloor"\n'),
    "PPP secret": ("etc/ppp/chap-secrets", "user * secretword *\n"),
    "SNMP user": ("var/lib/snmp/snmpd.conf", "createUser admin SHA plantfloor AES\n"),
    "TSIG key": ("etc/bind/keys.conf", f'key "k" {{\n  secret "{b64(32)}";\n}};\n'),
    "hub connection string": ("etc/a/hub", f"HostName=h;DeviceId=d;SharedAccessKey={b64(32)}\n"),
    "event hub connection string": (
        "etc/a/events",
        f"Endpoint=sb://n.example/;SharedAccessKeyName=k;SharedAccessKey={b64(32)}\n",
    ),
    "storage connection string": ("etc/a/storage", f"AccountName=n;AccountKey={b64(64)}\n"),
    "SAS token": (
        "etc/a/sas",
        f"SharedAccessSignature sr=h%2Fdevices%2Fd&sig={noise(40)}%3D&se=1\n",
    ),
    "blob SAS": ("etc/a/blob", f"https://n.example/c?sv=2022-11-02&ss=b&sig={noise(43)}%3D\n"),
    "SQL connection string": ("srv/a/db", "Server=db;Database=x;User Id=u;Password=plantfloor\n"),
    "database address": ("opt/a/db.env", "DB=postgres://app:plantfloor@db.example/x\n"),
    "redis address": ("opt/a/cache.env", "URL=redis://:plantfloor@cache.example:6379\n"),
    "AWS key id": ("etc/a/aws", "id AKIA" + noise(16, LETTERS[26:]) + "\n"),
    "AWS secret key": ("opt/a/aws.env", f"export AWS_SECRET_ACCESS_KEY={noise(40)}\n"),
    "AWS profile": ("root/.aws/credentials", "[default]\n"),
    "Google key": ("opt/a/google.js", f"key: AIza{noise(35)}\n"),
    "Google login": ("root/.config/gcloud/credentials.db", "SQLite\n"),
    "Azure client secret": ("opt/a/azure.env", f"S=abc8Q~{noise(34)}\n"),
    "Azure profile": ("root/.azure/msal_token_cache.json", "{}"),
    "GitHub token": ("opt/a/ci.env", f"T=ghp_{noise(36)}\n"),
    "GitHub fine token": ("opt/a/ci2.env", f"T=github_pat_{noise(60)}\n"),
    "GitLab token": ("opt/a/ci3.env", f"T=glpat-{noise(20)}\n"),
    "Slack token": ("opt/a/chat.env", "T=xoxb-" + noise(30) + "\n"),
    "Slack hook": (
        "opt/a/hook",
        f"https://hooks.slack.com/services/T{noise(9)}/B{noise(9)}/{noise(24)}\n",
    ),
    "Docker Hub token": ("opt/a/hub.env", f"T=dckr_pat_{noise(27)}\n"),
    "Hugging Face token": ("opt/a/hf.env", f"T=hf_{noise(34, LETTERS[:52])}\n"),
    "Vault token": ("opt/a/vault.env", f"T=hvs.{noise(30)}\n"),
    "payment key": ("opt/a/pay.env", "T=sk_live_" + noise(24) + "\n"),
    "mail key": ("opt/a/mail.env", f"T=SG.{noise(22)}.{noise(43)}\n"),
    "bot token": ("opt/a/bot.env", f"T=123456789:AA{noise(33)}\n"),
    "monitoring token": ("opt/a/graf.env", f"T=glsa_{noise(32)}_{noise(8, HEX)}\n"),
    "JSON web token": ("etc/a/jwt", f"eyJ{noise(30)}.eyJ{noise(40)}.{noise(43)}\n"),
    "basic login": ("opt/a/fetch.sh", f"curl -H 'Authorization: Basic {b64(18)}' x\n"),
    "Ansible vault": ("etc/a/vars.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n"),
    "password by name": ("etc/a/app.ini", f"db.password = {noise(24)}\n"),
    "API key by name": ("etc/a/app.yml", f"  api_key: '{noise(32)}'\n"),
    "cloud-init data": ("var/lib/cloud/instance/user-data.txt", "#cloud-config\n"),
}
"""What is planted: path and content, by the kind of secret."""
