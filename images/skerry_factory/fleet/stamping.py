"""Stamping a fleet: all that is not there yet, in batches, each whole before the next.

    <out>/devices/<id>.qcow2       the copies (copies.py)
    <out>/ledger.jsonl             ledger.py
    <out>/identities.jsonl         material.py
    <out>/enrollments-*.json       enrollment.py

Everything is read and checked before anything is written. Of a batch first the identities last,
then the copies get their final names, then the ledger gets its lines: whenever this is killed, the
next run makes what has no line, with the identities that are kept. One run at a time: a lock.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from skerry.base.files import fsync_folder, state_folder
from skerry_factory.cache import exclusive
from skerry_factory.copies import Copies, remove_unused_bases
from skerry_factory.errors import FactoryError
from skerry_factory.fleet.enrollment import write_enrollments
from skerry_factory.fleet.ledger import Entry, Made, entry, read_ledger, write_ledger
from skerry_factory.fleet.material import Maker, Material, World, keep_material, read_material
from skerry_factory.fleet.model import Fleet, FleetDevice
from skerry_factory.fleet.seeds import Seeds
from skerry_factory.progress import StepReporter
from skerry_factory.stamp import seed_digest, sync_file

DEVICES = "devices"
IDENTITIES = "identities.jsonl"
PARTIAL = ".partial-"
BATCH = 100
SYNCING_THREADS = 8


@dataclass(frozen=True)
class Stamped:
    """What a run did; `pending` are devices that cannot be enrolled yet."""

    folder: Path
    made: tuple[str, ...]
    unchanged: int
    pending: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """What has to be there for a device."""

    device: FleetDevice
    material: Material
    files: dict[str, bytes]
    entry: Entry


def stamp_fleet(fleet: Fleet, image: Path, out: Path, world: World, step: StepReporter) -> Stamped:
    """Make every copy that is missing or was made of something else, and the enrolment files.

    Raises: DefinitionError, FactoryError before anything is written; BusyError.
    """
    maker = Maker(fleet.identity, world)
    seeds = Seeds(fleet)
    devices = out / DEVICES
    copies = Copies(image, devices, fleet.disk_format, fleet.size_bytes)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(out / ".lock", f"another run stamps into {out}; wait for its end"):
        _sweep(out)
        kept = read_material(out / IDENTITIES)
        material = {d.id: maker.keep_or_make(d, kept.get(d.id)) for d in fleet.devices}
        planned = _planned(fleet, material, copies, seeds, world.now().isoformat())
        done = read_ledger(out)
        jobs = [job for job in planned if not _is_there(job, done, devices)]
        if jobs:
            devices.mkdir(exist_ok=True)
            _require_room(copies, jobs, devices, world.free_bytes(devices))
        for batch in _batches(jobs):
            if maker.is_kept:
                new = {job.device.id: job.material for job in batch}
                keep_material(out / IDENTITIES, {d: m for d, m in new.items() if kept.get(d) != m})
            _make(copies, batch, devices)
            write_ledger(out, [job.entry for job in batch])
            step.waits_for(f"the copy after {batch[-1].device.id}")
        write_ledger(out, _told_anew(planned, read_ledger(out)))
        remove_unused_bases(devices)
        pending = write_enrollments(fleet, material, out)
    made = tuple(job.device.id for job in jobs)
    return Stamped(out, made, len(fleet.devices) - len(made), pending)


def _planned(
    fleet: Fleet, material: Mapping[str, Material], copies: Copies, seeds: Seeds, time: str
) -> list[_Job]:
    """Return what has to be there for each device. Raises: DefinitionError, FactoryError."""
    jobs = []
    for device in fleet.devices:
        own = material[device.id]
        files = seeds.files(device, own)
        file, image = copies.file_name(device.id), copies.image_digest
        made = Made(file, image, fleet.size_bytes, seed_digest(files))
        jobs.append(_Job(device, own, files, entry(device, own, made, time)))
    return jobs


def _is_there(job: _Job, done: Mapping[str, Entry], devices: Path) -> bool:
    """Tell whether the ledger has the same copy, and the copy is there."""
    former = done.get(job.device.id)
    made = job.entry.made
    return former is not None and former.made == made and (devices / made.file).exists()


def _told_anew(planned: Sequence[_Job], done: Mapping[str, Entry]) -> list[Entry]:
    """Return new lines for copies that stay while what is told of them, as a label, has changed."""
    return [
        job.entry
        for job in planned
        if replace(job.entry, time="") != replace(done[job.device.id], time="")
    ]


def _sweep(out: Path) -> None:
    """Remove what a run that was killed left half-made."""
    state_folder(out)
    for leftover in (out / DEVICES).glob(f"{PARTIAL}*"):
        leftover.unlink()


def _require_room(copies: Copies, jobs: Sequence[_Job], devices: Path, free: int) -> None:
    largest = max(jobs, key=lambda job: sum(map(len, job.files.values())))
    needed = len(jobs) * copies.bytes_each(copies.volume(largest.files))
    if needed > free:
        raise FactoryError(
            f"{len(jobs)} copies take up to {needed >> 20} MiB, {devices} has {free >> 20} MiB "
            "free; make room, or choose format 'qcow2' or 'seed'"
        )


def _batches(jobs: Sequence[_Job]) -> Iterator[Sequence[_Job]]:
    for at in range(0, len(jobs), BATCH):
        yield jobs[at : at + BATCH]


def _make(copies: Copies, batch: Sequence[_Job], devices: Path) -> None:
    """Write the copies of a batch and give them their names once they last."""
    partial = {devices / f"{PARTIAL}{job.entry.made.file}": job for job in batch}
    try:
        for file, job in partial.items():
            copies.write(copies.volume(job.files), file)
        with ThreadPoolExecutor(SYNCING_THREADS) as pool:
            list(pool.map(sync_file, partial))
        for file, job in partial.items():
            file.replace(devices / job.entry.made.file)
        fsync_folder(devices)
    finally:
        for file in partial:
            file.unlink(missing_ok=True)
