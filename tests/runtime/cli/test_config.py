"""`skerry config`: text, JSON and exit status of check and apply."""

import io
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from harness.devices import RunningServices, make_device
from skerry.cli.config import apply_on
from skerry.cli.main import run
from skerry.config.apply import Device

GOOD = 'hostname = "pump"\n[provisioning]\nsource = "standalone"\n'
BAD = '# a site\n\n[provisoning]\nsource = "standalone"\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site.toml"


def _run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = run([*arguments, "--output", "json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_good_file_is_ok(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0, one line."""
    site.write_text(GOOD)
    assert run(["config", "check", str(site)]) == 0
    assert capsys.readouterr().out == f"{site}: ok\n"


def test_problems_are_listed_one_a_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, file, line and column first, then a count."""
    site.write_text(BAD + "cloud_timeout_sec = 10\n")
    assert run(["config", "check", str(site)]) == 1
    assert capsys.readouterr().out == (
        f"{site}:3:2: provisoning: unknown table; did you mean 'provisioning'?\n"
        "1 problem; nothing was applied.\n"
    )


def test_warnings_do_not_fail(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A deprecated key is named and accepted."""
    site.write_text('manifest_trust_bundle_cert = "file:///x"\n' + GOOD)
    assert run(["config", "check", str(site)]) == 0
    assert capsys.readouterr().out == (
        f"{site}:1:30: manifest_trust_bundle_cert: deprecated: signed manifests were withdrawn; "
        f"remove the key (warning)\n{site}: ok\n"
    ).replace(":1:30:", ":1:1:")


def test_check_answers_in_json(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A problem has the fields of docs/interfaces.md."""
    site.write_text(BAD)
    status, answer = _run_json(capsys, "config", "check", str(site))
    assert (status, answer["result"], answer["warnings"]) == (1, "refused", [])
    assert answer["problems"][0] == {
        "file": str(site),
        "line": 3,
        "column": 2,
        "key": "provisoning",
        "message": "unknown table",
        "expected": None,
        "suggestion": "provisioning",
    }


def test_check_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dash stands for standard input, in messages too."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    assert run(["config", "check", "-"]) == 1
    assert capsys.readouterr().out.startswith("-:1:2: expected '=' after a key")


def test_input_is_bounded(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file or a stream without end is not read to its end."""
    big = b" " * (4 * 1024 * 1024 + 1)
    site.write_bytes(big)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(big)))
    assert [run(["config", "check", name]) for name in (str(site), "-")] == [1, 1]
    assert "has more than 4194304 bytes" in capsys.readouterr().err


def test_rendering_writes_private_files(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--output-dir writes the files of the services, for nobody else to read."""
    site.write_text(GOOD)
    out = tmp_path / "out"
    assert run(["config", "apply", "--config", str(site), "--output-dir", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "certd.toml", "deployment.json", "edged.toml", "identityd.toml", "keyd.toml", "tpmd.toml",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
    assert capsys.readouterr().out == (
        "would change: keyd, certd, identityd, tpmd, edged, deployment\n"
    )


def test_rendering_a_wrong_file_writes_nothing(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Problems in place of files; a dry run writes none either."""
    site.write_text(BAD)
    out = tmp_path / "out"
    status, answer = _run_json(
        capsys, "config", "apply", "--config", str(site), "--output-dir", str(out)
    )
    assert (status, answer["result"], out.exists()) == (1, "refused", False)
    site.write_text(GOOD)
    status, answer = _run_json(
        capsys, "config", "apply", "--dry-run", "--config", str(site), "--output-dir", str(out)
    )
    assert (status, answer["result"], out.exists()) == (0, "would-change", False)


def test_applying_needs_root(site: Path) -> None:
    """Another user is told so before anything is read."""
    site.write_text(GOOD)
    command = [sys.executable, "-m", "skerry.cli.main", "config", "apply", "--config", str(site)]
    if os.geteuid() == 0:
        # another user who can read this checkout wherever it lies
        capability = "+dac_read_search"
        somebody = ["--reuid=65534", f"--inh-caps={capability}", f"--ambient-caps={capability}"]
        command = ["setpriv", *somebody, "--", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "skerry: applying a configuration needs root; run it with sudo\n"


def _options(site: Path, *, dry_run: bool = False, output: str = "text") -> Namespace:
    return Namespace(config=str(site), dry_run=dry_run, output=output)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return make_device(tmp_path)


def test_apply_says_what_it_did(
    device: Device, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Diff and summary; then that nothing changed; then what would."""
    site.write_text(GOOD)
    assert apply_on(_options(site), device) == 0
    assert capsys.readouterr().out.endswith(
        "applied: generation 1; changed keyd, certd, identityd, tpmd, edged, deployment, config; "
        "restarted keyd, certd, identityd, tpmd, edged\n"
    )
    assert apply_on(_options(site), device) == 0
    assert capsys.readouterr().out == "unchanged: generation 1 is in force\n"
    site.write_text(GOOD.replace("pump", "press"))
    assert apply_on(_options(site, dry_run=True), device) == 0
    assert capsys.readouterr().out.endswith("would change: certd, identityd, edged, config\n")


def test_apply_answers_in_json(
    device: Device, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer has exactly the fields of docs/interfaces.md."""
    site.write_text(GOOD)
    apply_on(_options(site, output="json"), device)
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {
        "result", "generation", "changed", "diff", "problems", "warnings", "restarted",
    }  # fmt: skip
    assert (answer["result"], answer["generation"]) == ("applied", 1)


def test_a_rollback_is_an_error(
    device: Device, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, the reason on standard error."""
    assert isinstance(device.services, RunningServices)
    device.services.refusing.add("certd")
    site.write_text(GOOD)
    assert apply_on(_options(site), device) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        "skerry: certd refused its settings; no configuration is in force as before\n",
    )
