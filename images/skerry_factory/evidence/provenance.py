"""Where an image comes from: an in-toto statement with SLSA's predicate (provenance v1).

It names what went in (definition, checkout, the keys of all steps, containers; the packages are in
the SBOM) and the tools of the build host. There is no time in it: the same inputs on the same host
give the same statement.
"""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from skerry_factory.command import run_command
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.evidence.subject import Subject
from skerry_factory.paths import Checkout

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:skerry:image:1"
PROGRAMS = ("mmdebstrap", "e2fsprogs", "dosfstools", "mtools", "qemu-utils", "zstd", "dpkg")


def provenance(
    subject: Subject,
    manifest: Mapping[str, Any],
    checkout: Mapping[str, str],
    tools: Mapping[str, str],
) -> Mapping[str, object]:
    """Return the statement about an image."""
    inputs = {name: key for name, key in manifest["inputs"].items() if key}
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in subject.files.items()
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"definition": f"images/linux/{subject.id}/image.toml"},
                "internalParameters": {
                    "suite": subject.suite,
                    "arch": subject.arch,
                    "sourceDateEpoch": SOURCE_DATE_EPOCH,
                },
                "resolvedDependencies": [
                    {"name": "checkout", "digest": dict(checkout)},
                    *({"name": f"step/{n}", "digest": {"sha256": k}} for n, k in inputs.items()),
                    *(
                        {
                            "name": one["ref"],
                            "digest": {"sha256": one["id"].removeprefix("sha256:")},
                        }
                        for one in manifest["containers"]
                    ),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:skerry:factory",
                    "version": {"skerry-factory": subject.version, **tools},
                }
            },
        },
    }


def state_of_checkout(checkout: Checkout) -> dict[str, str]:
    """Return `{"gitCommit": …}`, with `-dirty` when files differ from it; empty without git."""
    git = ["git", "-c", f"safe.directory={checkout.root}", "-C", str(checkout.root)]
    try:
        commit = run_command([*git, "rev-parse", "HEAD"]).strip()
        changed = run_command([*git, "status", "--porcelain", "--untracked-files=no"]).strip()
    except FactoryError:
        return {}
    return {"gitCommit": f"{commit}-dirty" if changed else commit}


def versions_of_tools() -> dict[str, str]:
    """Return the versions of the programs that make an image; what is not installed is left out."""
    try:
        told = run_command(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *PROGRAMS])
    except FactoryError as error:
        told = getattr(error, "output", "")
    pairs = (line.split(" ") for line in told.splitlines() if not line.startswith("dpkg-query:"))
    found = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1]}
    return {**found, "ansible-core": importlib.metadata.version("ansible-core")}
