"""Makes documents fit to be given away: only what is known to be harmless keeps its text.

Every text in a document becomes three stars unless its key is in `OPEN`; so a key that nobody
thought of gives nothing away. Numbers, truth values and the names of keys stay, but not below a key
with a telling name. What is masked there is learned, so that logs do not tell it either.
"""

import json
from collections.abc import Callable, Mapping

from skerry.bundle.scrub import MASK, SECRET_NAME, Scrubber, looks_random

_WORDS = """
action aliases api-version apiversion apparmorprofile architecture author began cause cgroupdriver
cgroupnsmode cgroupparent cgroupversion checks cipher code common_name condition config
containeridfile containernetwork cpusetcpus cpusetmems created createdat date dependson
description destination details device device_id deviceid dnsnames dockerrootdir domainname driver
edgedeviceid ended endpointid error evidence exitcode expected file finishedat fixed from gateway
global_endpoint globalipv6address graphdriver healthcheck hostname hub_name id id_scope image
imagehash imagepullpolicy indexserveraddress initbinary instance iothub_hostname ip ip_range
ipaddress ipcmode ipv4address ipv6address ipv6gateway isolation kernel kernel_release
kernel_version kernelversion kind labelled last_desired_status lastdesiredstatus lastexittimeutc
lastrestarttimeutc laststarttimeutc level link local_gateway_hostname loggingdriver logpath
macaddress managedby maskedpaths mediatype message method min_tls_version mode module name names
network networkid networkmode not_after not_before now op operating_system
operating_system_version operatingsystem os ostype osversion output parent parent_hostname path
pattern phase pidmode platform product_name propagation protocol readiness readonlypaths reason
registration_id remedy repodigests repotags restartpolicy result role route routes runtime
runtimestatus schemaversion scope section server_version serverversion service services shmsize
since source start startedat state status statusdescription step stop stopsignal storagedriver
subnet suite system_vendor systemtime target threshold time title trial type unit units until uri
urls usernsmode utsmode version virtualized volumedriver volumes warnings workingdir
"""
OPEN = frozenset(_WORDS.split())
"""Keys whose text may be shown, in small letters."""

_OPEN_LABELS = ("net.azure-devices.edge.", "org.opencontainers.image.", "com.docker.")
_OPEN_ENVIRONMENT = ("path", "lang", "tz", "upstreamprotocol", "runtimeloglevel")
_COMMANDS = frozenset({"args", "cmd", "entrypoint", "test"})
_OPAQUE = frozenset({"headers", "payload", "tags", "properties"})
_NAMED = {"checks": "", "modules": "", "systemmodules": "", "routes": "route", "bad": "reason"}
"""Tables whose keys are names that people chose, and under which key their values count."""


def clean(document: object, scrubber: Scrubber) -> object:
    """Return a document of JSON's types without its secrets."""
    return _Cleaner(scrubber).value("", document)


class _Cleaner:
    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._special: dict[str, Callable[[object], object]] = {
            "env": self._environment,
            "labels": self._labels,
            "createoptions": self._options,
            "modulescontent": self._modules_content,
        }

    def value(self, key: str, value: object) -> object:
        """Return a value that stands under a key."""
        name = key.lower()
        if name in _NAMED and isinstance(value, Mapping):
            return {
                self._name(inner): self.value(_NAMED[name], item) for inner, item in value.items()
            }
        if SECRET_NAME.search(name):
            return self._hidden(value, known=True)
        if name in self._special:
            return self._special[name](value)
        if name.startswith("createoptions"):
            return self._options(value)
        if name in _COMMANDS and isinstance(value, list):
            return self._command(value)
        if name in _OPAQUE:
            return self._hidden(value, known=False)
        if isinstance(value, Mapping):
            return {
                self._name(inner): self.value(str(inner), item) for inner, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(key, item) for item in value]
        if isinstance(value, str):
            return self._scrubber.text(value) if name in OPEN else self._hidden(value, known=False)
        return value

    def _name(self, key: object) -> str:
        return self._scrubber.text(str(key))

    def _hidden(self, value: object, *, known: bool) -> object:
        """Mask all below; `known` secrets are learned, others if they look like one."""
        if isinstance(value, Mapping):
            return {self._name(key): self._hidden(item, known=known) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hidden(item, known=known) for item in value]
        if value is None or isinstance(value, bool) or value == "":
            return value
        if known or (isinstance(value, str) and looks_random(value)):
            self._scrubber.learn(str(value))
        return MASK

    def _environment(self, value: object) -> object:
        """Keep names; values only of those that everybody sets."""
        if isinstance(value, list):
            pairs = (str(item).partition("=") for item in value)
            return [f"{name}={self._variable(name, text)}" for name, _, text in pairs]
        if isinstance(value, Mapping):
            return {name: self._variable(str(name), item) for name, item in value.items()}
        return self._hidden(value, known=False)

    def _variable(self, name: str, value: object) -> object:
        lower = name.lower()
        secret = SECRET_NAME.search(lower) is not None
        harmless = lower in _OPEN_ENVIRONMENT or lower.startswith("iotedge_")
        if isinstance(value, str) and harmless and not secret:
            return self._scrubber.text(value)
        return self._hidden(value, known=secret)

    def _labels(self, value: object) -> object:
        if not isinstance(value, Mapping):
            return self._hidden(value, known=False)
        return {
            name: self._scrubber.text(str(text))
            if str(name).startswith(_OPEN_LABELS)
            else self._variable(str(name), text)
            for name, text in value.items()
        }

    def _command(self, words: list[object]) -> list[object]:
        """Keep the program and the names of its options."""
        return [
            self._scrubber.text(str(word)) if place == 0 else self._option(str(word))
            for place, word in enumerate(words)
        ]

    def _option(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            self._hidden(word, known=False)
            return MASK
        self._hidden(value, known=SECRET_NAME.search(name) is not None)
        return f"{self._scrubber.text(name)}={MASK}" if equals else self._scrubber.text(word)

    def _options(self, value: object) -> object:
        """Open createOptions, which a manifest carries as a text of JSON."""
        if isinstance(value, str):
            try:
                value = json.loads(value) if value else {}
            except ValueError:
                return self._hidden(value, known=True)
        return (
            self.value("", value) if isinstance(value, Mapping) else self._hidden(value, known=True)
        )

    def _modules_content(self, value: object) -> object:
        """Open what agent and hub want; the wishes of modules are their owner's own."""
        if not isinstance(value, Mapping):
            return self._hidden(value, known=False)
        system = ("$edgeAgent", "$edgeHub")
        return {
            name: self.value("", item)
            if str(name).partition(".")[0] in system
            else self._hidden(item, known=False)
            for name, item in value.items()
        }
