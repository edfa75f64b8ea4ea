"""Mistakes in config.toml, one a row: each is reported at its line and column, in these words."""

# ruff: noqa: E501  a mistake and its message are read side by side

import pytest

from skerry.config.document import read

BASE = '[provisioning]\nsource = "standalone"\n'
KEY = "YXppb3QtaWRlbnRpdHktc2VydmljZXxhemlvdC1pZGU="
DPS = (
    '[provisioning]\nsource = "dps"\nglobal_endpoint = "https://dps.example"\nid_scope = "0ne"\n'
    "[provisioning.attestation]\n"
)
MANUAL = (
    '[provisioning]\nsource = "manual"\niothub_hostname = "hub.example"\ndevice_id = "d"\n'
    "[provisioning.authentication]\n"
)
MODULE = BASE + '[modules.m]\nimage = "alpine"\n'

CASES: dict[str, tuple[str, str]] = {
    # not TOML, or not a text
    "a string without end": ('a = "x\n', "1:7: illegal character '\\n'; expected TOML"),
    "a key without value": ("a\n", "1:2: expected '=' after a key in a key/value pair; expected TOML"),
    "a key given twice": ("a = 1\na = 2\n", "2:6: cannot overwrite a value; expected TOML"),
    "a table given twice": ("[a]\n[a]\n", "2:3: cannot declare ('a',) twice; expected TOML"),
    "a text that stops": ("a = [", "1:6: invalid value at the end; expected TOML"),
    "a file that is not UTF-8": ("a = 1\nb = '\udcff'\n", "2:6: byte 0xff is not UTF-8; expected a text in UTF-8"),
    # the top
    "no provisioning": ("", "1:1: provisioning: missing; expected a table"),
    "a mistyped table": ('[provisoning]\nsource = "standalone"\n', "1:2: provisoning: unknown table; did you mean 'provisioning'?"),
    "a mistyped key": (f'hostnam = "x"\n{BASE}', "1:1: hostnam: unknown key; did you mean 'hostname'?"),
    "a key in other case": (f'HostName = "x"\n{BASE}', "1:1: HostName: unknown key; did you mean 'hostname'?"),
    "a key from nowhere": (f"zzz = 1\n{BASE}", "1:1: zzz: unknown key"),
    "a host name with an underscore": (f'hostname = "Edge_1"\n{BASE}', "1:12: hostname: 'Edge_1' does not fit; expected a host name of letters, digits and '-', parts joined by '.'"),
    "a host name with a line end": (f'hostname = "edge\\n"\n{BASE}', "1:12: hostname: 'edge\\n' does not fit; expected a host name of letters, digits and '-', parts joined by '.'"),
    "a host name that is too long": (f'hostname = "{"a" * 300}"\n{BASE}', f"1:12: hostname: '{'a' * 59}…' is too long (300 characters); expected a host name of letters, digits and '-', parts joined by '.'"),
    "a number for a name": (f"hostname = 7\n{BASE}", "1:12: hostname: 7 is an integer; expected a host name of letters, digits and '-', parts joined by '.'"),
    "a date for a name": (f"hostname = 2026-01-01\n{BASE}", "1:12: hostname: 2026-01-01 is a date or time; expected a host name of letters, digits and '-', parts joined by '.'"),
    "a string for a switch": (f'prefer_module_identity_cache = "yes"\n{BASE}', "1:32: prefer_module_identity_cache: 'yes' is a string; expected true or false"),
    "a switch for a number": (f"cloud_retries = true\n{BASE}", "1:17: cloud_retries: true is true or false; expected an integer of at least 0"),
    "a timeout that is too short": (f"cloud_timeout_sec = 10\n{BASE}", "1:21: cloud_timeout_sec: 10 is too small; expected an integer of at least 70 (seconds)"),
    "more retries than fit": (f"cloud_retries = 4294967296\n{BASE}", "1:17: cloud_retries: 4294967296 is too large; expected an integer of at least 0"),
    "a mistyped choice": (f'auto_reprovisioning_mode = "dynamic"\n{BASE}', "1:28: auto_reprovisioning_mode: 'dynamic' is not a choice; expected 'Dynamic' or 'AlwaysOnStartup' or 'OnErrorOnly'; did you mean 'Dynamic'?"),
    "a path for a URI": (f'trust_bundle_cert = "/var/ca.pem"\n{BASE}', "1:21: trust_bundle_cert: '/var/ca.pem' does not fit; expected a file URI such as 'file:///var/secrets/name.pem'"),
    "a URI for a path": (f'imported_master_encryption_key = "file:///x"\n{BASE}', "1:34: imported_master_encryption_key: 'file:///x' does not fit; expected an absolute path such as '/var/secrets/master.key'"),
    "a limit left out": (f"aziot_max_requests = {{ keyd = 1, certd = 1, tpmd = 1 }}\n{BASE}", "1:1: aziot_max_requests.identityd: missing; expected an integer of at least 1 (requests at once)"),
    "a limit of nothing": (f"iotedge_max_requests.workload = 0\n{BASE}", "1:33: iotedge_max_requests.workload: 0 is too small; expected an integer of at least 1 (requests at once)"),
    "one setting under two names": (f'parent_hostname = "a"\nlocal_gateway_hostname = "a"\n{BASE}', "2:1: local_gateway_hostname: given besides parent_hostname, which is the same setting; expected one of the two"),
    # provisioning
    "no source": ("[provisioning]\n", "1:2: provisioning.source: missing; expected 'standalone' or 'manual' or 'dps' or 'none'"),
    "a mistyped source": ('[provisioning]\nsource = "standalon"\n', "2:10: provisioning.source: 'standalon' is not a choice; expected 'standalone' or 'manual' or 'dps' or 'none'; did you mean 'standalone'?"),
    "a source from nowhere": ('[provisioning]\nsource = "carrier pigeon"\n', "2:10: provisioning.source: 'carrier pigeon' is not a choice; expected 'standalone' or 'manual' or 'dps' or 'none'"),
    "a source that is no string": ("[provisioning]\nsource = 3\n", "2:10: provisioning.source: 3 is not a choice; expected 'standalone' or 'manual' or 'dps' or 'none'"),
    "a key of another source": (f'{BASE}id_scope = "0ne"\n', "3:1: provisioning.id_scope: unknown key; expected one of device_id, source"),
    "no endpoint": (DPS.replace('global_endpoint = "https://dps.example"\n', "") + 'method = "tpm"\nregistration_id = "d"\n', "1:2: provisioning.global_endpoint: missing; expected a URL such as 'https://example.org/path'"),
    "no registration id": (f'{DPS}method = "tpm"\n', "5:15: provisioning.attestation.registration_id: missing; expected 1 to 128 letters, digits or - . _ :"),
    "a mistyped attestation": (f'{DPS}method = "tmp"\nregistration_id = "d"\n', "6:10: provisioning.attestation.method: 'tmp' is not a choice; expected 'symmetric_key' or 'x509' or 'tpm'"),
    "a key that is not base64": (f'{DPS}method = "symmetric_key"\nregistration_id = "d"\nsymmetric_key = {{ value = "?" }}\n', "8:27: provisioning.attestation.symmetric_key.value: the key is not base64; expected base64, with or without its padding"),
    "a key that is empty": (f'{MANUAL}method = "sas"\ndevice_id_pk.value = ""\n', "7:22: provisioning.authentication.device_id_pk.value: the key is not base64; expected base64, with or without its padding"),
    "a key in the wrong place": (f'{MANUAL}method = "sas"\ndevice_id_pk = "{KEY}"\n', "7:16: provisioning.authentication.device_id_pk: a string, which is the wrong type; expected a table"),
    "a certificate without its key": (f'{MANUAL}method = "x509"\nidentity_cert = "file:///c.pem"\n', "5:15: provisioning.authentication.identity_pk: missing; expected a key URI such as 'file:///var/secrets/name.pem' or 'pkcs11:object=name'"),
    "a certificate to be issued for nobody": (f'{DPS}method = "x509"\nidentity_cert = {{ method = "self_signed" }}\n', "5:15: provisioning.attestation.registration_id: missing, and the certificate has yet to be issued for it; expected the registration id"),
    "DPS behind a parent": (f'parent_hostname = "gw"\n{DPS}method = "tpm"\nregistration_id = "d"\n', "1:1: parent_hostname: DPS provisioning is not supported in nested mode; expected provisioning.source = 'manual'"),
    "a connection string cut short": ('[provisioning]\nsource = "manual"\nconnection_string = "HostName=h;DeviceId=d"\n', "3:21: provisioning.connection_string: required parameter 'SharedAccessKey' is missing; expected 'HostName=…;DeviceId=…;SharedAccessKey=…'"),
    "a connection string with a bad key": ('[provisioning]\nsource = "manual"\nconnection_string = "HostName=h;DeviceId=d;SharedAccessKey=?"\n', "3:21: provisioning.connection_string: SharedAccessKey is not base64; expected 'HostName=…;DeviceId=…;SharedAccessKey=…'"),
    "a group key that is not base64": (f'{DPS}method = "symmetric_key"\nregistration_id = "d"\ngroup_key = "swordfish?"\n', "8:13: provisioning.attestation.group_key: the key is not base64; expected base64, with or without its padding"),
    "a group key that is a table": (f'{DPS}method = "symmetric_key"\nregistration_id = "d"\ngroup_key = {{ value = "AAE=" }}\n', "8:13: provisioning.attestation.group_key: a table, which is the wrong type; expected base64, the key of the enrolment group"),
    "a group key besides a key": (f'{DPS}method = "symmetric_key"\nregistration_id = "d"\ngroup_key = "AAE="\nsymmetric_key = {{ value = "AAE=" }}\n', "8:1: provisioning.attestation.group_key: unknown key; expected one of method, registration_id, symmetric_key"),
    "a key in a token that is not set up": (f'{BASE}[edge_ca]\ncert = "file:///c"\npk = "pkcs11:object=x"\n', "5:6: edge_ca.pk: a key in a PKCS#11 token, and no token is set up; expected pkcs11_lib_path in [aziot_keys], the library of the token"),
    "a token without its library": (f'{BASE}[aziot_keys]\npkcs11_base_slot = "pkcs11:token=t"\n', "4:1: aziot_keys.pkcs11_base_slot: given without pkcs11_lib_path; expected pkcs11_lib_path in [aziot_keys], the library of the token"),
    "a library by its name": (f'{BASE}[aziot_keys]\npkcs11_lib_path = "libsofthsm2.so"\n', "4:19: aziot_keys.pkcs11_lib_path: 'libsofthsm2.so' does not fit; expected an absolute path such as '/usr/lib/softhsm/libsofthsm2.so'"),
    # certificates
    "an edge CA without method": (f"{BASE}[edge_ca]\nexpiry_days = 3\n", "3:2: edge_ca.method: missing; expected 'est' or 'local_ca' or 'self_signed'"),
    "a mistyped method": (f'{BASE}[edge_ca]\nmethod = "selfsigned"\n', "4:10: edge_ca.method: 'selfsigned' is not a choice; expected 'est' or 'local_ca' or 'self_signed'; did you mean 'self_signed'?"),
    "a lifetime of no days": (f'{BASE}[edge_ca]\nmethod = "self_signed"\nexpiry_days = 0\n', "5:15: edge_ca.expiry_days: 0 is too small; expected an integer from 1 to 36500 (days)"),
    "an edge CA without its key": (f'{BASE}[edge_ca]\ncert = "file:///c.pem"\n', "3:2: edge_ca.pk: missing; expected a key URI such as 'file:///var/secrets/name.pem' or 'pkcs11:object=name'"),
    "two names for one certificate": (f'{BASE}[edge_ca]\nmethod = "self_signed"\ncommon_name = "a"\nsubject = {{ CN = "a" }}\n', "6:1: edge_ca.subject: given besides common_name; expected one of the two"),
    "a subject without fields": (f'{BASE}[edge_ca]\nmethod = "self_signed"\nsubject = {{}}\n', "5:11: edge_ca.subject: the table is empty; expected at least one key"),
    "a name that is empty": (f'{BASE}[edge_ca]\nmethod = "self_signed"\ncommon_name = ""\n', "5:15: edge_ca.common_name: '' is empty; expected a string that is not empty"),
    "a share above a hundred": (f'{BASE}[edge_ca]\nmethod = "self_signed"\nauto_renew = {{ rotate_key = true, threshold = "101%", retry = "4%" }}\n', "5:47: edge_ca.auto_renew.threshold: '101%' does not fit; expected a share or time such as '80%', '90min' or '30day'"),
    "a renewal half said": (f'{BASE}[edge_ca]\nmethod = "self_signed"\nauto_renew = {{ rotate_key = true, threshold = "80%" }}\n', "5:1: edge_ca.auto_renew.retry: missing; expected a share or time such as '80%', '90min' or '30day'"),
    "a local CA that is not there": (f'{BASE}[edge_ca]\nmethod = "local_ca"\n', "4:10: edge_ca.method: 'local_ca' needs [cert_issuance.local_ca], which is missing; expected the certificate and key of a local CA"),
    "a local CA that issues itself": (f'{BASE}[cert_issuance.local_ca]\ncert = {{ method = "local_ca" }}\n', "4:19: cert_issuance.local_ca.cert.method: the local CA cannot issue its own certificate; expected 'est' or 'self_signed'"),
    "an EST server that is not named": (f'{MANUAL}method = "x509"\nidentity_cert = {{ method = "est" }}\n', "7:28: provisioning.authentication.identity_cert.method: 'est' needs a server, and no URL is given; expected url, or default in cert_issuance.est.urls"),
    "a password without a user": (f'{BASE}[cert_issuance.est.auth]\npassword = "p"\n', "3:20: cert_issuance.est.auth.username: missing besides password"),
    "a list among the certificates of a list": (f'{BASE}[preloaded_certs]\na = ["b"]\nb = ["file-id"]\n', "4:6: preloaded_certs.a[0]: 'b' is itself a list; expected the id of one certificate"),
    "a certificate that is a table": (f"{BASE}[preloaded_certs]\na = {{}}\n", "4:5: preloaded_certs.a: a table, which is the wrong type; expected a string or an array"),
    # agent, engine, workloads
    "an agent half said": (f'{BASE}[agent]\nname = "edgeAgent"\n[agent.config]\nimage = "x"\n', "3:2: agent.type: missing; expected 'docker'"),
    "an agent of another kind": (f'{BASE}[agent]\nname = "edgeAgent"\ntype = "podman"\nconfig = {{ image = "x" }}\n', "5:8: agent.type: 'podman' is not a choice; expected 'docker'"),
    "an image with a blank": (f'{BASE}[modules.m]\nimage = "my image"\n', "4:9: modules.m.image: 'my image' does not fit; expected a container image such as 'registry.example/name:tag' or 'name@sha256:<64 digits>'"),
    "a module without image": (f"{BASE}[modules.m]\n", "3:10: modules.m.image: missing; expected a container image such as 'registry.example/name:tag' or 'name@sha256:<64 digits>'"),
    "a module that is a string": (f'{BASE}[modules]\nm = "alpine"\n', "4:5: modules.m: a string, which is the wrong type; expected a table"),
    "a module with a bad name": (f'{BASE}[modules."a b"]\nimage = "alpine"\n', "3:10: modules.\"a b\": 'a b' cannot be a name; expected a module name of letters, digits, '-', '_' and '.'"),
    "a module of the system": (f'{BASE}[modules.edgeAgent]\nimage = "alpine"\n', "3:10: modules.edgeAgent: 'edgeAgent' is a module of the system; it is set in [agent]; expected another name"),
    "a mistyped restart policy": (f'{MODULE}restartPolicy = "allways"\n', "5:17: modules.m.restartPolicy: 'allways' is not a choice; expected 'never' or 'on-failure' or 'on-unhealthy' or 'always'; did you mean 'always'?"),
    "snake case where camel case is due": (f'{MODULE}restart_policy = "always"\n', "5:1: modules.m.restart_policy: unknown key; did you mean 'restartPolicy'?"),
    "a variable that is a number": (f"{MODULE}env = {{ A = 1 }}\n", "5:13: modules.m.env.A: 1 is an integer; expected a string"),
    "a variable with an equals sign": (f'{MODULE}[modules.m.env]\n"A=B" = "x"\n', "6:1: modules.m.env.\"A=B\": 'A=B' cannot be a name; expected a variable name without '='"),
    "a dependency on nothing": (f'{MODULE}dependsOn = ["n"]\n', "5:14: modules.m.dependsOn[0]: 'n' is not a module of this file; expected the name of a module"),
    "a mistyped dependency": (f'{MODULE}dependsOn = ["sensr"]\n[modules.sensor]\nimage = "alpine"\n', "5:14: modules.m.dependsOn[0]: 'sensr' is not a module of this file; expected the name of a module; did you mean 'sensor'?"),
    "modules in a circle": (f'{MODULE}dependsOn = ["n"]\n[modules.n]\nimage = "alpine"\ndependsOn = ["m"]\n', "5:13: modules.m.dependsOn: modules depend on each other: m -> n -> m; expected an order without circles"),
    "a date among create options": (f"{MODULE}createOptions = {{ A = [2026-01-01] }}\n", "5:24: modules.m.createOptions.A[0]: 2026-01-01 is a date or time; expected a string or an integer or a number or true or false or an array or a table"),
    "infinity among create options": (f"{MODULE}createOptions = {{ A = inf }}\n", "5:23: modules.m.createOptions.A: inf has no form in JSON; expected a finite number"),
    "a login without password": (f'{MODULE}auth = {{ username = "u" }}\n', "5:1: modules.m.auth.password: missing; expected a string or a table"),
    "a password that is a number": (f'{MODULE}auth = {{ username = "u", password = 1234 }}\n', "5:37: modules.m.auth.password: an integer, which is the wrong type; expected a string or a table"),
    "a probe without port": (f'{MODULE}readiness = {{ type = "tcp" }}\n', "5:1: modules.m.readiness.port: missing; expected an integer from 1 to 65535"),
    "a probe of no kind": (f'{MODULE}readiness = {{ type = "exec" }}\n', "5:22: modules.m.readiness.type: 'exec' is not a choice; expected 'healthcheck' or 'tcp' or 'http' or 'log'"),
    "a secret that is not declared": (f'{MODULE}secrets = ["pasword"]\n[secrets.password]\nvalue = "x"\n', "5:12: modules.m.secrets[0]: 'pasword' is not in [secrets]; expected the name of a secret; did you mean 'password'?"),
    "retries that are neither": (f'{BASE}[watchdog]\nmax_retries = "many"\n', "4:15: watchdog.max_retries: 'many' does not fit; expected 'infinite' or a number"),
    "half an address": (f'{BASE}[listen]\nworkload_uri = "fd://aziot-edged.workload.socket"\n', "3:2: listen.management_uri: missing; expected a string that is not empty"),
    "an engine without scheme": (f'{BASE}[moby_runtime]\nuri = "/run/docker.sock"\n', "4:7: moby_runtime.uri: '/run/docker.sock' does not fit; expected a socket URI such as 'unix:///var/run/docker.sock'"),
    "a network without name": (f"{BASE}[moby_runtime.network]\nipv6 = true\n", "3:15: moby_runtime.network.name: missing; expected a string that is not empty"),
    "a subnet in the wrong place": (f'{BASE}[moby_runtime]\nnetwork = {{ name = "n", subnet = "10.0.0.0/8" }}\n', "4:25: moby_runtime.network.subnet: unknown key; expected one of ipam, ipv6, name"),
    "a network in an array of tables": (f'{BASE}[moby_runtime.network]\nname = "n"\n[[moby_runtime.network.ipam.config]]\nsubnet = "a"\n[[moby_runtime.network.ipam.config]]\nsubnets = "b"\n', "8:1: moby_runtime.network.ipam.config[1].subnets: unknown key; did you mean 'subnet'?"),
    "half a day between collections": (f'{BASE}[image_garbage_collection]\ncleanup_recurrence = "12h"\n', "4:22: image_garbage_collection.cleanup_recurrence: '12h' is not a number of whole days; expected '1d', '2d' or '48h'"),
    "a duration in moons": (f'{BASE}[image_garbage_collection]\nimage_age_cleanup_threshold = "2 moons"\n', "4:31: image_garbage_collection.image_age_cleanup_threshold: '2 moons' is not a duration; expected '1d', '36h' or '7 days'"),
    "an hour that is not": (f'{BASE}[image_garbage_collection]\ncleanup_time = "24:00"\n', "4:16: image_garbage_collection.cleanup_time: '24:00' does not fit; expected a time of day such as '23:30'"),
    "a TPM index as text": (f'{BASE}[tpm]\nauth_key_index = "0x100"\n', "4:18: tpm.auth_key_index: '0x100' is a string; expected an integer from 0 to 8388607"),
    "a route with a bad name": (f'{BASE}[hub.routes]\n"a.b" = "FROM /* INTO $upstream"\n', "4:1: hub.routes.\"a.b\": 'a.b' cannot be a name; expected a route name without '.', '$', '#' and blanks"),
    "a priority beyond nine": (f'{BASE}[hub.routes]\na = {{ route = "FROM /* INTO x", priority = 10 }}\n', "4:44: hub.routes.a.priority: 10 is too large; expected an integer from 0 to 9"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_reported_at_its_place(case: str) -> None:
    """File, line, column, key, what is wrong, what was expected, what was likely meant."""
    text, expected = CASES[case]
    document = read(text.encode("utf-8", "surrogateescape"), "site.toml")
    assert f"site.toml:{expected}" in [str(problem) for problem in document.problems]


@pytest.mark.parametrize("case", CASES)
def test_one_mistake_is_one_problem(case: str) -> None:
    """Beside what this version cannot do yet, a mistake is reported once."""
    text, _ = CASES[case]
    document = read(text.encode("utf-8", "surrogateescape"), "site.toml")
    found = [p for p in document.problems if "not implemented in this version" not in p.message]
    assert len(found) == 1


def test_all_mistakes_are_reported_at_once() -> None:
    """Several mistakes, of shape and of sense, come in the order of the file."""
    text = (
        'hostname = "a_b"\nzzz = 1\n[provisioning]\nsource = "standalone"\n'
        '[modules.m]\nimage = "a b"\ndependsOn = ["m", "x"]\nstatus = "on"\n'
    )
    document = read(text.encode(), "site.toml")
    assert [(p.line, p.column) for p in document.problems] == [
        (1, 12), (2, 1), (6, 9), (7, 13), (7, 19), (8, 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        f'{MANUAL}method = "sas"\ndevice_id_pk = {{ value = "swordfish?" }}\n',
        '[provisioning]\nsource = "manual"\nconnection_string = "SharedAccessKey=swordfish"\n',
        f'{MODULE}auth = {{ username = "u", password = ["swordfish"] }}\n',
        f'{BASE}[aziot_keys]\npkcs11_base_slot = "pkcs11:slot-id=0?pin-value=swordfish"\n',
        f'{BASE}[preloaded_keys]\na = "pkcs11:object=a?pin-value=swordfish"\n',
    ],
)
def test_no_message_shows_a_secret(text: str) -> None:
    """What is wrong with a secret is said without the secret."""
    document = read(text.encode(), "site.toml")
    assert document.problems
    assert not [p for p in document.problems if "swordfish" in str(p)]
