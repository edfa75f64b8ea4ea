"""Deployments as transactions, by the agent at work on a management API."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.agents import Site, manifest, module
from skerry.base.frames import frame


def images(site: Site) -> dict[str, str]:
    """Return what runs, by name."""
    return {
        name: found.spec["config"]["settings"]["image"]
        for name, found in site.edged.modules.items()
        if found.status == "running"
    }


def history(site: Site) -> list[tuple[str, str]]:
    """Return outcome and reason of every deployment so far."""
    return [(e["outcome"], e["reason"]) for e in site.edged.transactions[-1]["history"]]


def settle(site: Site, **modules: dict[str, Any]) -> None:
    """Have a deployment in force."""
    site.deploy(**modules)
    site.run(10)
    site.changes()


OLD = {"a": "a:1", "b": "b:1"}


@pytest.fixture
def old(site: Site) -> Site:
    settle(site, a=module("a:1"), b=module("b:1"))
    return site


def test_the_images_that_may_be_needed_are_told(old: Site) -> None:
    """Of what is in force, what came before it and what is tried: nobody may collect them."""
    old.edged.missing_images.add("b:2")
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(5)
    assert old.edged.transactions[-1]["images"] == ["a:1", "a:2", "agent:1", "b:1", "b:2"]


def test_an_update_that_holds_is_committed(old: Site) -> None:
    """Everything is fetched before the first container is touched."""
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(20)
    assert images(old) == {"a": "a:2", "b": "b:2"}
    assert old.edged.fetched == ["a:2", "b:2"]
    assert [outcome for outcome, _ in history(old)] == ["committed", "committed"]
    assert old.report["lastDesiredStatus"]["code"] == 200


def test_a_crash_loop_brings_back_the_whole_old_set(old: Site) -> None:
    """Also the module that was well; the same deployment is not tried again."""
    old.edged.crashing_images.add("b:2")
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(60)
    assert images(old) == OLD
    outcome, reason = history(old)[-1]
    assert (outcome, reason[:27]) == ("rolled-back", "b: ended with status 1; res")
    assert old.report["lastDesiredStatus"]["code"] == 500
    old.changes()
    old.run(100)
    old.start_agent()
    old.run(100)
    assert old.changes() == []


def test_a_container_that_cannot_be_made_brings_back_the_old_set(old: Site) -> None:
    """A port that somebody has taken, say."""
    old.edged.refusals["replace b"] = (500, "port is already allocated")
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(25)
    old.edged.refusals.clear()
    old.run(25)
    assert images(old) == OLD
    assert history(old)[-1] == ("rolled-back", "b: port is already allocated")


def test_an_image_that_is_missing_touches_nothing(old: Site) -> None:
    """Neither module is replaced; when the image is there the deployment goes on by itself."""
    old.edged.missing_images.add("b:2")
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(60)
    assert (images(old), old.changes()) == (OLD, [])
    description = old.report["lastDesiredStatus"]["description"]
    assert description == "cannot be prepared; b: image 'b:2' is not there"
    old.edged.missing_images.clear()
    old.run(200)
    assert images(old) == {"a": "a:2", "b": "b:2"}


def test_an_image_for_another_machine_is_refused(old: Site) -> None:
    """For good, and by name; nothing is touched."""
    old.edged.foreign_images.add("b:2")
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(60)
    assert (images(old), old.changes()) == (OLD, [])
    assert history(old)[-1] == ("refused", "b: image 'b:2' is for arm64, this machine is amd64")


def test_a_fix_takes_the_place_of_a_trial_that_lasts(old: Site) -> None:
    """At once when its images are there; the module that is the same in both keeps running."""
    never = {"type": "log", "pattern": "^up$", "timeoutSeconds": 600}
    old.deploy(a=module("a:2", readiness=never), b=module("b:2"))
    old.run(30)
    old.changes()
    old.edged.missing_images.add("a:3")
    old.deploy(a=module("a:3"), b=module("b:2"))
    old.run(30)
    assert images(old) == {"a": "a:2", "b": "b:2"}
    old.edged.missing_images.clear()
    old.run(60)
    assert images(old) == {"a": "a:3", "b": "b:2"}
    assert old.changes() == ["replace a"]
    assert [outcome for outcome, _ in history(old)] == ["committed", "superseded", "committed"]


def test_a_fix_that_fails_brings_back_the_good_set(old: Site) -> None:
    """Not the one that it took the place of; that one may be tried again later."""
    never = {"type": "log", "pattern": "^up$", "timeoutSeconds": 600}
    old.deploy(a=module("a:2", readiness=never), b=module("b:2"))
    old.run(30)
    old.edged.crashing_images.add("a:3")
    old.deploy(a=module("a:3"), b=module("b:2"))
    old.run(60)
    assert images(old) == OLD
    assert [outcome for outcome, _ in history(old)[1:]] == ["superseded", "rolled-back"]
    assert list(old.edged.transactions[-1]["bad"].values()) == [history(old)[-1][1]]


def test_the_good_set_takes_the_place_of_a_trial(old: Site) -> None:
    """An operator who takes a change back need not wait."""
    good = old.edged.deployment
    never = {"type": "log", "pattern": "^up$", "timeoutSeconds": 600}
    old.deploy(a=module("a:2", readiness=never), b=module("b:1"))
    old.run(30)
    assert images(old) == {"a": "a:2", "b": "b:1"}
    old.edged.deployment = good
    old.run(20)
    assert images(old) == OLD
    assert history(old)[-1][0] == "superseded"
    assert old.edged.transactions[-1]["bad"] == {}


def test_a_killed_agent_is_whole_when_a_fix_came(old: Site) -> None:
    """At every round: the fix, which is good, or what was good before."""
    never = {"type": "log", "pattern": "^up$", "timeoutSeconds": 600}
    present = OLD
    for kill_after in range(8):
        old.deploy(a=module(f"a:{kill_after}x", readiness=never), b=module(f"b:{kill_after}x"))
        old.run(10)
        old.deploy(a=module(f"a:{kill_after}y"), b=module(f"b:{kill_after}y"))
        for _ in range(kill_after):
            old.edged.clock.advance(old.agent.round())
        old.start_agent()
        old.run(60)
        present = {"a": f"a:{kill_after}y", "b": f"b:{kill_after}y"}
        assert images(old) == present


def test_a_crashed_module_comes_back_while_images_are_awaited(old: Site) -> None:
    """The deployment in force is looked after as ever."""
    old.edged.missing_images.add("b:2")
    old.deploy(a=module("a:2"), b=module("b:2"))
    old.run(5)
    old.edged.ends("a", 1)
    old.run(12)
    assert images(old) == OLD


def test_modules_that_publish_the_same_port_are_refused(old: Site) -> None:
    """Before anything is touched."""
    options = {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}
    fields = {"settings": {"image": "a:2", "createOptions": json.dumps(options)}}
    old.deploy(a=module() | fields, b=module() | fields)
    old.run(10)
    assert (images(old), old.changes()) == (OLD, [])
    assert history(old)[-1] == ("refused", "modules 'a' and 'b' both publish port 8080/tcp")


def test_a_person_may_roll_back_and_retry(old: Site) -> None:
    """A request is answered once."""
    old.deploy(a=module("a:2"), b=module("b:1"))
    old.run(20)
    old.edged.request = {"id": "1", "action": "rollback"}
    old.run(20)
    assert images(old) == OLD
    old.edged.request = {"id": "2", "action": "retry"}
    old.run(20)
    assert images(old) == {"a": "a:2", "b": "b:1"}


@contextmanager
def listening() -> Iterator[int]:
    """Give a port on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_module_that_is_not_ready_holds_up_what_comes_after_it(site: Site) -> None:
    """A line of its log, as the case may be."""
    ready = {"type": "log", "pattern": "^up$", "timeoutSeconds": 30}
    site.deploy(a=module(startupOrder=1, readiness=ready), b=module(startupOrder=2))
    site.run(10)
    assert sorted(images(site)) == ["a"]
    site.edged.logs["a"] = frame(1, b"booting\nup\n")
    site.run(10)
    assert sorted(images(site)) == ["a", "b"]


def test_what_is_never_ready_is_rolled_back(old: Site) -> None:
    """After the time that it was given."""
    ready = {"type": "log", "pattern": "^up$", "timeoutSeconds": 30}
    old.deploy(a=module("a:2", readiness=ready), b=module("b:2"))
    old.run(60)
    assert images(old) == OLD
    assert history(old)[-1] == ("rolled-back", "a: not ready within 30 s (log '^up$')")


def test_a_port_that_answers_makes_a_module_ready(old: Site) -> None:
    """By the module's name on the network."""
    settle(old, localhost=module("a:1"))
    with listening() as port:
        ready = {"type": "tcp", "port": port, "timeoutSeconds": 5}
        old.deploy(localhost=module("a:2", readiness=ready))
        old.run(20)
    assert images(old) == {"localhost": "a:2"}


def test_a_killed_agent_goes_on_with_the_trial(old: Site) -> None:
    """At every round of an update that fails: a new agent ends wholly new or wholly old."""
    for kill_after in range(12):
        old.edged.crashing_images = {f"b:{kill_after}x"}
        old.deploy(a=module(f"a:{kill_after}x"), b=module(f"b:{kill_after}x"))
        for _ in range(kill_after):
            old.edged.clock.advance(old.agent.round())
        old.start_agent()
        old.run(70)
        assert images(old) == OLD
        assert old.edged.deployment == manifest(
            a=module(f"a:{kill_after}x"), b=module(f"b:{kill_after}x")
        )


def test_long_create_options_are_reported_in_chunks(site: Site) -> None:
    """Of 512 characters, which put together are what was asked for."""
    options = {"Cmd": ["x" * 1000]}
    settings = {"image": "a:1", "createOptions": json.dumps(options)}
    settle(site, a=module() | {"settings": settings})
    reported = site.report["modules"]["a"]["settings"]
    parts = [reported[f"createOptions{number}"] for number in ("", "01")]
    assert [len(part) for part in parts] == [512, 500]
    assert json.loads("".join(parts)) == options


def test_the_runtime_is_reported_without_passwords(site: Site) -> None:
    """Upstream shows them to everybody who reads the twin."""
    site.deploy(a=module())
    document: Any = site.edged.deployment
    settings = {
        "minDockerVersion": "v1.25",
        "loggingOptions": "",
        "registryCredentials": {
            "lab": {"address": "r.example", "username": "u", "password": "hunter2"}
        },
    }
    desired = document["modulesContent"]["$edgeAgent"]["properties.desired"]
    desired["runtime"] = {"type": "docker", "settings": settings}
    site.run(5)
    assert site.report["runtime"]["settings"] == {
        "minDockerVersion": "v1.25",
        "loggingOptions": "",
        "registryCredentials": {"lab": {"address": "r.example", "username": "u"}},
    }
    assert "hunter2" not in json.dumps([site.edged.reports, site.edged.transactions])


def test_a_round_with_nothing_to_do_takes_no_time(site: Site) -> None:
    """50 ms at most with 50 modules, the calls to edged included."""
    settle(site, **{f"m{number}": module() for number in range(50)})
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        site.agent.round()
        seconds.append(time.perf_counter() - began)
    assert sorted(seconds)[5] < 0.05
    assert site.changes() == []
