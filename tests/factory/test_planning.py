"""Plans: what would run, and the input that is the reason; keys hold all that a step reads."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry_factory import cli
from skerry_factory.bootstrap import Bootstrap, plan_bootstrap
from skerry_factory.cache import Cache
from skerry_factory.definition import Definition, find_definition
from skerry_factory.inputs import FORGOTTEN, NEVER_BUILT, StepInputs, reasons, recall, remember
from skerry_factory.paths import Checkout
from skerry_factory.pipeline import bootstrap_inputs, kernel_inputs
from skerry_factory.planning import judged, plan_build
from skerry_factory.provision import RoleRun, role_inputs

CHECKOUT = Checkout.of_package()
ROLES = ("one", "two", "three")


@pytest.fixture
def definition() -> Definition:
    return find_definition("debian-13-amd64", CHECKOUT)


def make(cache: Cache, *steps: StepInputs) -> None:
    """Put an empty result of each step into a cache."""
    for step in steps:
        cache.entry(step.step, step.key).mkdir(parents=True, exist_ok=True)


def test_in_an_empty_cache_everything_runs(definition: Definition, tmp_path: Path) -> None:
    """Nothing was built, so everything has to be, and planning writes nothing."""
    steps = plan_build(definition, Cache(tmp_path), CHECKOUT)
    assert [step.name for step in steps[:4]] == ["bootstrap", "package", "preload", "kernel"]
    assert [step.name for step in steps[4:-1]] == [f"roles/{role}" for role in definition.roles]
    assert not any(step.cached for step in steps)
    assert steps[0].why == (NEVER_BUILT,)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_input_is_the_reason(definition: Definition, tmp_path: Path) -> None:
    """Each step that would run names what is another than at the last build, and only that."""
    cache = Cache(tmp_path)
    base = bootstrap_inputs(plan_bootstrap(definition, CHECKOUT, None))
    kernel = kernel_inputs(definition, base.key)
    make(cache, base, kernel)
    remember(cache, definition.id, [base, kernel])
    more = replace(definition, packages=(*definition.packages, "jq"), kernel_arguments=("ro",))
    now = bootstrap_inputs(plan_bootstrap(more, CHECKOUT, None))
    first, second = judged([now, kernel_inputs(more, base.key)], cache, definition.id)
    assert first.why == ("definition and roles: packages: +jq",)
    assert second.why == ("kernel arguments: +ro",)
    assert [step.cached for step in judged([base, kernel], cache, definition.id)] == [True, True]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1}, {"a": 2}, "a: 1 → 2"),
        ({"a": {"b": "x"}}, {"a": {"b": None}}, 'a: b: "x" → null'),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, "a: another order"),
        ({"a": "f" * 64}, {"a": "0" * 64}, "a: changed"),
        ({}, {"a": "x"}, 'a: null → "x"'),
        ({"a": 1}, {"a": 1}, FORGOTTEN),
    ],
    ids=["value", "inner value", "order", "digest", "new input", "nothing"],
)
def test_a_difference_in_words(
    old: Mapping[str, object], new: Mapping[str, object], told: str
) -> None:
    """Short values are shown, digests only said to differ."""
    assert reasons(StepInputs("s", "s", new), {"s": old}) == [told]


def test_what_cannot_be_read_is_as_never_built(tmp_path: Path) -> None:
    """A damaged record of the latest build costs the reasons and nothing else."""
    (tmp_path / "last").mkdir()
    (tmp_path / "last/box.json").write_text("{")
    assert recall(Cache(tmp_path), "box") == {}


def test_a_plan_is_told_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan --output json` has each step with its reasons."""
    arguments = ["plan", "debian-13-amd64", "--cache", str(tmp_path), "--output", "json"]
    assert cli.run(arguments) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert steps[0] == {"step": "bootstrap", "cached": False, "why": [NEVER_BUILT]}


EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("package"), st.sampled_from(["a", "b"]), st.booleans()),
        st.tuples(st.just("variable"), st.sampled_from(ROLES), st.integers(0, 2)),
        st.tuples(st.just("file"), st.sampled_from(ROLES), st.integers(0, 2)),
    ),
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(edits=EDITS)
def test_a_cached_result_is_that_of_a_clean_build(
    edits: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any edits, in any order and back again, what the cache gives is what one would build.

    A step here makes the text of all that it may read; a key that missed an input would give the
    text of an older state.
    """
    root = tmp_path_factory.mktemp("checkout")
    checkout = Checkout(root)
    (root / "playbooks").mkdir()
    (root / "playbooks/build_linux.yml").write_text("play")
    state: dict[str, dict[str, int]] = {"package": {}, "variable": {}, "file": {}}
    cached: dict[str, str] = {}
    for kind, name, value in [("file", role, 0) for role in ROLES] + list(edits):
        state[kind][name] = value
        for role in ROLES:
            (root / "roles" / role).mkdir(parents=True, exist_ok=True)
            (root / "roles" / role / "main").write_text(f"var_{role} {state['file'].get(role)}")
        packages = tuple(name for name in sorted(state["package"]) if state["package"][name])
        base = bootstrap_inputs(Bootstrap("s", "a", None, packages))
        variables = {f"var_{role}": value for role, value in state["variable"].items()}
        text = f"{packages}"
        for step in role_inputs(RoleRun(ROLES, variables, {}), base.key, checkout):
            role = step.name.removeprefix("roles/")
            file = (root / "roles" / role / "main").read_text()
            text += f" {role}: {file} {state['variable'].get(role)}"
            assert cached.setdefault(step.key, text) == text
