"""The hardening's files as they are rendered: what the levels and exceptions change."""

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "hardening"
KINDS = ("kernel", "modules", "ssh")


def rendered(kind: str, level: str, exceptions: dict[str, str] | None = None) -> list[str]:
    """Render the file of a kind as Ansible does, without its comments' head."""
    options: dict[str, Any] = {"trim_blocks": True, "keep_trailing_newline": True}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, **options)  # noqa: S701 - no page
    environment.filters["comment"] = lambda text: f"# {text}"
    values = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    file = next(file for file in values["__hardening_files"] if file["kind"] == kind)
    template = environment.from_string((ROLE / "templates/settings.j2").read_text())
    return template.render(
        **values,
        __hardening_file=file,
        ansible_managed="managed",
        hardening_level=level,
        hardening_exceptions=exceptions or {},
    ).splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_strict_leaves_nothing_out(kind: str) -> None:
    """Every rule of `standard` is in `strict` too, and each is named once."""
    found = {
        level: [line for line in rendered(kind, level) if line.startswith(("# os", "# s"))]
        for level in ("standard", "strict")
    }
    assert set(found["standard"]) <= set(found["strict"])
    assert len(set(found["strict"])) == len(found["strict"])


def test_strict_goes_as_far_as_the_baselines() -> None:
    """Where `standard` is milder, `strict` has the rule's own value."""
    standard, strict = rendered("ssh", "standard"), rendered("ssh", "strict")
    assert {"MaxAuthTries 4", "LoginGraceTime 60s"} <= set(standard)
    assert {"MaxAuthTries 2", "LoginGraceTime 30s", "AllowTcpForwarding no"} <= set(strict)
    assert "AllowTcpForwarding no" not in standard
    assert "net.ipv4.conf.all.rp_filter = 1" in rendered("kernel", "strict")
    assert "install squashfs /bin/true" in rendered("modules", "strict")


def test_an_exception_is_written_with_its_reason() -> None:
    """A rule that an image does not follow is not set, and the file says why."""
    found = rendered("ssh", "standard", {"sshd-40": "the site's tool needs agents"})
    assert "# sshd-40 is not followed: the site's tool needs agents" in found
    assert not [line for line in found if line.startswith("AllowAgentForwarding")]


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_no_setting_is_made_twice(level: str) -> None:
    """Two rules never set one thing."""
    for kind in KINDS:
        lines = [line for line in rendered(kind, level) if line and line[0] != "#"]
        keys = [line if kind == "modules" else line.split(" ")[0] for line in lines]
        assert len(set(keys)) == len(keys)
