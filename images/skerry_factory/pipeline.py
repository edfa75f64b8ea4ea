"""The steps of a build in their order, as they run inside the namespaces of the build.

    bootstrap ─┬─ initramfs, kernel image ─────────────┐
               ├─ roles ─ finish (scrub, hygiene) ─ disk, formats, manifest
    containers ┤
    package  ──┘

Steps in different rows run side by side. Each is a pure function of its key; see cache.py.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skerry_factory import __version__
from skerry_factory.archive import TAR, write_tree
from skerry_factory.bootstrap import Bootstrap, bootstrap, default_sources, plan_bootstrap
from skerry_factory.cache import Cache, digest_of_file, digest_of_files, exclusive, key_of
from skerry_factory.definition import Definition, load_definition
from skerry_factory.disk import kernel_command_line, plan_partitions, write_disk
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.finish import FinishedTree, finished_tree
from skerry_factory.formats import Disk, write_formats
from skerry_factory.initramfs import build_kernel_image
from skerry_factory.output import Output, building_folder, publish
from skerry_factory.packages import installed_packages
from skerry_factory.parts import BuildParts, build_parts
from skerry_factory.paths import Checkout
from skerry_factory.progress import Reporter
from skerry_factory.provision import RoleRun, paths_in_image, role_keys, run_roles


@dataclass(frozen=True)
class Job:
    """What to build; `inputs` is the digest of everything, which the manifest keeps."""

    definition: Path
    out: Path
    cache: Path
    checkout: Path
    mirror: str | None
    refresh: bool
    inputs: str

    def to_json(self) -> dict[str, object]:
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Job":
        paths = {name: Path(fields[name]) for name in ("definition", "out", "cache", "checkout")}
        return cls(
            **paths,
            mirror=fields["mirror"],
            refresh=fields["refresh"],
            inputs=fields["inputs"],
        )


def build_in_namespace(
    job: Job, report: Reporter, end_programs: Callable[[], None]
) -> dict[str, object]:
    """Build an image; returns the number of packages and the digest of the raw disk.

    `end_programs` ends what still runs when one of several steps side by side has failed.
    """
    cache = Cache(job.cache)
    busy = f"another build uses {cache.root}"
    with exclusive(cache.root / "lock", busy, lambda: report.note(f"  waiting: {busy}")):
        cache.remove_leftovers()
        try:
            return _build(job, cache, Checkout(job.checkout), report, end_programs)
        finally:
            cache.remove_leftovers()


def _build(
    job: Job,
    cache: Cache,
    checkout: Checkout,
    report: Reporter,
    end_programs: Callable[[], None],
) -> dict[str, object]:
    definition = load_definition(job.definition)
    plan = plan_bootstrap(definition, checkout, job.mirror)
    base_key = bootstrap_key(plan)
    with ThreadPoolExecutor() as pool:
        base_made = pool.submit(_bootstrap, plan, base_key, cache, report, refresh=job.refresh)
        parts_made = pool.submit(build_parts, definition, job.mirror, cache, checkout, report)
        kernel_made = pool.submit(_kernel, definition, base_key, base_made, cache, report)
        _wait_for_all([base_made, parts_made], end_programs)
        base, parts = base_made.result(), parts_made.result()
        sources = sealed_sources(plan, definition, base, job.mirror)
        run = plan_roles(definition, parts, sources, job.mirror)
        keys = role_keys(run, base_key, checkout)
        with report.step("roles", f"{len(run.roles)} roles") as step:
            layers = run_roles(run, keys, base, parts.folder, cache, checkout, step)
        boot = kernel_made.result()
    inputs = {
        "all": job.inputs,
        "bootstrap": base_key,
        "kernel": boot.name,
        "roles": keys[-1],
        **parts.keys,
    }
    return _finish(job, definition, layers, boot, parts, sources, inputs, cache, report)


def _wait_for_all(futures: Sequence["Future[Any]"], end_programs: Callable[[], None]) -> None:
    """Wait for futures; the first that fails ends the programs of the others."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        error = future.exception()
        if error is not None:
            end_programs()
            raise error


def bootstrap_key(plan: Bootstrap) -> str:
    """Return the key of the first layer; the release of the build host's tools is part of it."""
    host = Path("/etc/os-release").read_text("utf-8")
    return key_of(asdict(plan), SOURCE_DATE_EPOCH, host, _code("bootstrap"))


def sealed_sources(plan: Bootstrap, definition: Definition, base: Path, mirror: str | None) -> str:
    """Return the sources.list that the image ships: without the mirror of this build only."""
    if mirror is not None:
        return default_sources(plan.suite, definition.mirror)
    return (base / "etc/apt/sources.list").read_text("utf-8")


def plan_roles(
    definition: Definition, parts: BuildParts, apt_sources: str, mirror: str | None
) -> RoleRun:
    """Return what the playbook gets; docs: images/README.md."""
    variables: dict[str, object] = {
        "image_phase": "install",
        "image_id": definition.id,
        "image_version": __version__,
        "image_suite": definition.suite,
        "image_arch": definition.arch,
        "image_timezone": definition.timezone,
        "image_users": [asdict(user) for user in definition.users],
        "image_network": {"dhcp": definition.dhcp},
        "image_mirror": mirror or "",
        "image_apt_sources": apt_sources,
        **paths_in_image(),
        **definition.role_vars,
    }
    inputs = {"runtime_package": parts.package_digest, "preload_folder": parts.preload_digest}
    return RoleRun(definition.roles, variables, inputs)


def _bootstrap(plan: Bootstrap, key: str, cache: Cache, report: Reporter, *, refresh: bool) -> Path:
    with report.step("bootstrap", f"{plan.suite}, {len(plan.packages)} packages") as step:
        entry = cache.entry("bootstrap", key)
        if refresh and entry.is_dir():
            shutil.rmtree(entry)
        if entry.is_dir():
            step.done_as("cached")
        else:
            step.waits_for("mmdebstrap to download and install Debian packages")
            cache.fetch("bootstrap", key, lambda folder: bootstrap(plan, folder / "tree"))
        return entry / "tree"


def _kernel(
    definition: Definition, base_key: str, base_made: "Future[Path]", cache: Cache, report: Reporter
) -> Path:
    base = base_made.result()
    cmdline = kernel_command_line(definition)
    own_files = definition.overlay / "etc/initramfs-tools"
    key = key_of(base_key, cmdline, digest_of_files([own_files]), _code("initramfs", "uki", "tree"))
    with report.step("kernel", "initramfs, unified kernel image") as step:
        if cache.has("kernel", key):
            step.done_as("cached")
            return cache.entry("kernel", key)
        step.waits_for("mkinitramfs")
        return cache.fetch(
            "kernel",
            key,
            lambda folder: build_kernel_image(base, definition.overlay, cmdline, folder),
        )


def _finish(
    job: Job,
    definition: Definition,
    layers: list[Path],
    boot: Path,
    parts: BuildParts,
    apt_sources: str,
    inputs: Mapping[str, str],
    cache: Cache,
    report: Reporter,
) -> dict[str, object]:
    work = cache.new_folder("finish")
    with building_folder(job.out) as building:
        with report.step("finish", "scrub, hygiene, disk") as step:
            step.waits_for("the check that nothing unique or secret is left")
            with finished_tree(layers, work, definition, apt_sources) as tree:
                step.waits_for("the file systems")
                raw = write_disk(definition, tree, boot, building)
                archives = _archives(definition, tree, building)
                packages = installed_packages(tree.root)
        with report.step("formats", ", ".join(definition.formats)) as step:
            step.waits_for("digests and conversion")
            disk = Disk(raw, definition.id, plan_partitions(definition))
            outputs = [*write_formats(disk, definition.formats), *archives]
            step.done_as(f"{len(packages)} packages, sha256 {outputs[0].sha256[:12]}…")
        manifest = _manifest(definition, parts, packages, outputs, inputs)
        publish(outputs, manifest, job.out)
    return {"packages": len(packages), "sha256": outputs[0].sha256}


def _archives(definition: Definition, tree: FinishedTree, building: Path) -> list[Output]:
    if TAR not in definition.formats:
        return []
    file = write_tree(tree, building / f"{definition.id}.{TAR}")
    return [Output(file, TAR, digest_of_file(file))]


def _manifest(
    definition: Definition,
    parts: BuildParts,
    packages: list[dict[str, str]],
    outputs: list[Output],
    inputs: Mapping[str, str],
) -> dict[str, object]:
    """Return manifest.json as docs/interfaces.md §6 describes it."""
    return {
        "id": definition.id,
        "version": __version__,
        "suite": definition.suite,
        "arch": definition.arch,
        "packages": packages,
        "containers": [{"ref": image["ref"], "id": image["id"]} for image in parts.images],
        "partitions": [
            {
                "name": part.name,
                "label": part.label,
                "offset_bytes": part.offset_bytes,
                "size_bytes": part.size_bytes,
                "uuid": str(part.uuid),
            }
            for part in plan_partitions(definition)
        ],
        "outputs": [
            {
                "file": output.path.name,
                "format": output.format,
                "size_bytes": output.path.stat().st_size,
                "sha256": output.sha256,
            }
            for output in outputs
        ],
        "inputs": dict(inputs),
    }


def _code(*modules: str) -> str:
    """Return the digest of the code of some steps: a changed step makes its results anew."""
    folder = Path(__file__).parent
    return digest_of_files([folder / f"{name}.py" for name in modules])
