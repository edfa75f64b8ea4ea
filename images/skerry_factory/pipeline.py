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
from skerry_factory.architecture import architecture
from skerry_factory.archive import write_archives
from skerry_factory.bootstrap import Bootstrap, bootstrap, default_sources, plan_bootstrap
from skerry_factory.cache import Cache, digest_of_files, exclusive, key_of
from skerry_factory.definition import Definition, load_definition
from skerry_factory.disk import kernel_command_line, plan_partitions, write_disk
from skerry_factory.emulator import register_emulator
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.finish import finished_tree
from skerry_factory.formats import Disk, write_formats
from skerry_factory.initramfs import OWN_FILES, build_kernel_image
from skerry_factory.inputs import StepInputs, remember
from skerry_factory.installer import ISO, PXE, build_installer, installer_inputs
from skerry_factory.lock import locked_mirror, read_lock
from skerry_factory.output import Output, building_folder, publish
from skerry_factory.packages import installed_packages
from skerry_factory.parts import BuildParts, build_parts
from skerry_factory.paths import Checkout
from skerry_factory.progress import Reporter
from skerry_factory.provision import RoleRun, paths_in_image, role_inputs, run_roles
from skerry_factory.resolving import asked_of


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
    lock: Path | None = None

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
            lock=Path(fields["lock"]) if fields["lock"] else None,
        )


@dataclass(frozen=True)
class BootFiles:
    """Folders of the kernel image and, if a format needs it, of the installer."""

    kernel: Path
    installer: Path | None


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
    register_emulator(architecture(definition.arch))
    mirror = _mirror(job, definition, cache, checkout)
    plan = plan_bootstrap(definition, checkout, mirror)
    base_step = bootstrap_inputs(plan)
    base_key = base_step.key
    kernel_step = kernel_inputs(definition, base_key)
    with ThreadPoolExecutor() as pool:
        base_made = pool.submit(_bootstrap, plan, base_key, cache, report, refresh=job.refresh)
        parts_made = pool.submit(build_parts, definition, mirror, cache, checkout, report)
        kernel_made = pool.submit(_kernel, definition, kernel_step.key, base_made, cache, report)
        _wait_for_all([base_made, parts_made], end_programs)
        base, parts = base_made.result(), parts_made.result()
        sources = sealed_sources(plan, definition, base, mirror)
        run = plan_roles(
            definition, parts.package_digest, parts.preload_digest, sources, job.mirror
        )
        role_steps = role_inputs(run, base_key, checkout)
        keys = [step.key for step in role_steps]
        with report.step("roles", f"{len(run.roles)} roles") as step:
            layers = run_roles(run, keys, base, parts.folder, cache, checkout, step)
        installer = _installer(definition, base_key, base, cache, report)
        boot = BootFiles(kernel_made.result(), installer)
    remember(cache, definition.id, [base_step, parts.package, kernel_step, *role_steps])
    inputs = {
        "all": job.inputs,
        "bootstrap": base_key,
        "kernel": boot.kernel.name,
        "roles": keys[-1],
        **parts.keys,
    }
    return _finish(job, definition, layers, boot, parts, sources, inputs, cache, report)


def _mirror(job: Job, definition: Definition, cache: Cache, checkout: Checkout) -> str | None:
    """Return where the packages come from; None is mmdebstrap's own choice."""
    if job.lock is None:
        return job.mirror
    lock = read_lock(job.lock)
    if lock.asked != asked_of(definition, checkout):
        raise FactoryError(
            f"{job.lock} was made for other packages than {definition.id} has now; "
            f"run: skerry-factory lock {definition.id} --update"
        )
    return locked_mirror(lock, definition.suite, cache)


def _wait_for_all(futures: Sequence["Future[Any]"], end_programs: Callable[[], None]) -> None:
    """Wait for futures; the first that fails ends the programs of the others."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        error = future.exception()
        if error is not None:
            end_programs()
            raise error


def bootstrap_inputs(plan: Bootstrap) -> StepInputs:
    """Return what goes into the first layer; the release of the build host's tools is among it."""
    values = {
        "definition and roles": asdict(plan),
        "epoch": SOURCE_DATE_EPOCH,
        "release of the build machine": Path("/etc/os-release").read_text("utf-8"),
        "code of the factory": _code("bootstrap"),
    }
    return StepInputs("bootstrap", "bootstrap", values)


def kernel_inputs(definition: Definition, base_key: str) -> StepInputs:
    """Return what goes into the unified kernel image."""
    own_files = [overlay / OWN_FILES for overlay in definition.overlays]
    values = {
        "bootstrap": base_key,
        "kernel arguments": kernel_command_line(definition),
        f"overlay/{OWN_FILES}": digest_of_files(own_files),
        "code of the factory": _code("initramfs", "uki", "tree", "architecture"),
    }
    return StepInputs("kernel", "kernel", values)


def sealed_sources(plan: Bootstrap, definition: Definition, base: Path, mirror: str | None) -> str:
    """Return the sources.list that the image ships: without the mirror of this build only."""
    if mirror is not None:
        return default_sources(plan.suite, definition.mirror)
    return (base / "etc/apt/sources.list").read_text("utf-8")


def plan_roles(
    definition: Definition,
    package_digest: str,
    preload_digest: str,
    apt_sources: str,
    mirror: str | None,
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
    inputs = {"runtime_package": package_digest, "preload_folder": preload_digest}
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
    definition: Definition, key: str, base_made: "Future[Path]", cache: Cache, report: Reporter
) -> Path:
    base = base_made.result()
    cmdline = kernel_command_line(definition)
    with report.step("kernel", "initramfs, unified kernel image") as step:
        if cache.has("kernel", key):
            step.done_as("cached")
            return cache.entry("kernel", key)
        step.waits_for("mkinitramfs")
        return cache.fetch(
            "kernel",
            key,
            lambda folder: build_kernel_image(
                base, architecture(definition.arch), definition.overlays, cmdline, folder
            ),
        )


def _installer(
    definition: Definition, base_key: str, base: Path, cache: Cache, report: Reporter
) -> Path | None:
    if {ISO, PXE}.isdisjoint(definition.formats):
        return None
    files = digest_of_files(installer_inputs(definition.overlays))
    key = key_of(base_key, files, _code("initramfs", "uki", "tree", "architecture"))
    with report.step("installer", "initramfs, unified kernel image") as step:
        if cache.has("installer", key):
            step.done_as("cached")
            return cache.entry("installer", key)
        arch = architecture(definition.arch)
        return cache.fetch(
            "installer",
            key,
            lambda folder: build_installer(base, arch, definition.overlays, folder),
        )


def _finish(
    job: Job,
    definition: Definition,
    layers: list[Path],
    boot: BootFiles,
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
                raw = write_disk(definition, tree, boot.kernel, building)
                archives = write_archives(definition, tree, building)
                packages = installed_packages(tree.root)
        with report.step("formats", ", ".join(definition.formats)) as step:
            step.waits_for("digests and conversion")
            arch, parts_of_disk = architecture(definition.arch), plan_partitions(definition)
            disk = Disk(raw, definition.id, parts_of_disk, arch, boot.installer)
            outputs = [*write_formats(disk, definition.formats), *archives]
            step.done_as(f"{len(packages)} packages, sha256 {outputs[0].sha256[:12]}…")
        manifest = _manifest(definition, parts, packages, outputs, inputs)
        publish(outputs, manifest, job.out)
    return {"packages": len(packages), "sha256": outputs[0].sha256}


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
