"""Steps run as written, except those that name others with `after`."""

import pytest

from compiler.agent.cloudconfig.load import Loaded
from compiler.agent.cloudconfig.model import After, Config, Step
from compiler.agent.cloudconfig.order import Order, operations, ordered
from compiler.agent.cloudconfig.source import Source


def order_of(*files: dict[str, tuple[str, ...]]) -> Order:
    """Order files of steps; each step by its name, with what it comes after."""
    configs = [
        Loaded(
            Source(f"/{number}", ""),
            Config(
                f"f{number}",
                {
                    "s": tuple(
                        Step(name=name, after=tuple(After(each) for each in after))
                        for name, after in steps.items()
                    )
                },
            ),
        )
        for number, steps in enumerate(files)
    ]
    return ordered(operations(configs, "s"))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({"a": (), "b": (), "c": ()}, "abc"),
        ({"a": ("f0.c",), "b": (), "c": ()}, "bca"),
        ({"a": (), "b": ("f0.d",), "c": (), "d": ()}, "acdb"),
        ({"a": (), "b": ("f0.a",), "c": ()}, "abc"),
        ({"a": ("f0.b",), "b": ("f0.c",), "c": ()}, "cba"),
        ({"a": ("f0.a",), "b": ()}, "ab"),
    ],
)
def test_a_step_waits_for_those_that_it_names(
    steps: dict[str, tuple[str, ...]], expected: str
) -> None:
    order = order_of(steps)

    assert "".join(each.step.name for each in order.operations) == expected
    assert order.notes == ()


def test_a_step_may_wait_for_one_of_a_later_file() -> None:
    order = order_of({"a": ("f1.x",), "b": ()}, {"x": (), "y": ()})

    assert [each.name for each in order.operations] == ["f0.b", "f1.x", "f0.a", "f1.y"]


def test_steps_that_wait_for_each_other_run_as_written_and_it_is_said() -> None:
    order = order_of({"a": ("f0.b",), "b": ("f0.a",), "c": ()})

    assert sorted(each.step.name for each in order.operations) == ["a", "b", "c"]
    assert order.notes == ("steps wait for each other: f0.a, f0.b",)


def test_a_name_that_nobody_has_is_said() -> None:
    order = order_of({"a": ("f0.zzz",), "b": ()})

    assert [each.step.name for each in order.operations] == ["a", "b"]
    assert order.notes == ("f0.a waits for 'f0.zzz', which no step is called",)
