"""Which packages come and which go."""

import pytest

from compiler.errors import ResolutionError
from compiler.system.choice import Offers
from compiler.system.client import in_order
from compiler.system.solve import Decision, InstallOptions, RemoveOptions, Solver
from compiler.system.summary import rows_of
from tests.system.market import define, installed, named, offers, repository, wish

PLAIN, CHECKED = InstallOptions(), RemoveOptions()


def shown(decision: Decision) -> tuple[list[str], list[str]]:
    """What comes, in order, and what goes, as `name-version`."""
    come, go = (
        [f"{each.name}-{each.version}" for each in ids] for ids in (decision.come, decision.go)
    )
    return come, go


def test_the_newest_comes_after_what_it_needs() -> None:
    solver = Solver((), offers(define("a-1"), define("a-2", "b"), define("b-1"), define("z-1")))

    decision = solver.install([wish("a")], PLAIN)

    assert shown(decision) == (["b-1", "a-2"], [])
    assert decision.asked == {("c", "a")}


def test_what_is_installed_stays_in_its_version() -> None:
    there = installed(define("b-1"), define("other-1"))
    offered = offers(define("a-1", "b"), define("b-1"), define("b-2"), define("other-2"))

    assert shown(Solver(there, offered).install([wish("a")], PLAIN)) == (["a-1"], [])


def test_what_stands_against_what_is_asked_for_is_upgraded() -> None:
    there = installed(define("b-1"), define("other-1"))
    offered = offers(define("a-1", "b@>=2"), define("b-2"), define("other-2"))

    assert shown(Solver(there, offered).install([wish("a")], PLAIN)) == (["b-2", "a-1"], ["b-1"])


def test_what_is_there_needs_not_come() -> None:
    solver = Solver(installed(define("a-1")), offers(define("a-2")))

    assert solver.install([wish("a")], PLAIN).is_nothing
    assert solver.already(wish("a@>=1")) == named("a-1")
    assert solver.already(wish("a@>=2")) is None


def test_an_upgrade_brings_the_newest_of_everything_and_never_an_older_one() -> None:
    there = installed(define("a-1"), define("ahead-9"), define("gone-1"))
    solver = Solver(there, offers(define("a-3"), define("a-2"), define("ahead-8")))

    decision = solver.upgrade()

    assert shown(decision) == (["a-3"], ["a-1"])
    (row,) = rows_of(decision, offers(define("a-3")))
    assert (row.action, row.title, row.old, row.new, row.repository) == (
        "upgrade", "c/a", "1", "3", "main"
    )  # fmt: skip


def test_an_upgrade_is_held_back_by_what_others_need() -> None:
    there = installed(define("a-1"), define("user-1", "a@<3"))
    solver = Solver(there, offers(define("a-2"), define("a-3"), define("user-1", "a@<3")))

    assert shown(solver.upgrade()) == (["a-2"], ["a-1"])


def test_an_upgrade_to_what_replaces_a_package_brings_no_older_one_of_it_back() -> None:
    replacing = define("p-1", "s@<2", provides="s@>=2")
    solver = Solver(installed(define("s-2")), offers(define("s-1"), define("s-3"), replacing))

    assert shown(solver.upgrade()) == (["s-3"], ["s-2"])


def test_other_spellings_of_a_version_are_no_upgrade() -> None:
    solver = Solver(installed(define("a-1.0"), define("b-any")), offers(define("a-1.00")))

    assert solver.upgrade().is_nothing


def test_what_no_repository_has_goes_only_if_asked_and_not_needed() -> None:
    there = installed(define("a-1", "b"), define("b-1"), define("old-1"))
    solver = Solver(there, offers(define("a-1", "b")))

    assert solver.upgrade().is_nothing
    assert shown(solver.upgrade(clean=True)) == ([], ["old-1"])


def test_a_package_built_anew_in_the_same_version_is_noticed() -> None:
    a, b = define("a-1"), define("b-1")
    solver = Solver(installed(a, b), Offers([repository([a], built="other"), repository([b])]))

    assert solver.rebuilt() == (named("a-1"),)
    assert solver.upgrade().is_nothing
    assert shown(solver.upgrade(rebuilt=True)) == (["a-1"], ["a-1"])


def test_of_several_repositories_the_preferred_one_is_asked_first() -> None:
    near = repository([define("a-1", "near")], name="near", priority=1)
    far = repository([define("a-1", "far"), define("a-2")], name="far", priority=2)
    for order in ([near, far], [far, near]):
        offer = Offers(order).get(named("a-1"))
        assert offer is not None
        assert offer.repository.name == "near"


def test_a_conflict_with_what_is_there_is_told_with_who_wants_what() -> None:
    there = installed(define("b-1"))
    solver = Solver(there, offers(define("a-1", conflicts="b"), define("b-1")))

    with pytest.raises(ResolutionError) as caught:
        solver.install([wish("a")], PLAIN)

    assert caught.value.chain == (
        "c/b is installed",
        "c/a is asked for",
        "c/a-1 conflicts with c/b",
    )


def test_a_need_that_nobody_meets_is_told_down_to_its_reason() -> None:
    solver = Solver((), offers(define("a-1", "b"), define("b-1", "d@>=2"), define("d-1")))

    with pytest.raises(ResolutionError) as caught:
        solver.install([wish("a")], PLAIN)

    assert str(caught.value) == (
        "no version of c/d satisfies '>=2' (there is 1)\n"
        "  c/a is asked for\n"
        "  c/a-1 requires c/b\n"
        "  c/b-1 requires c/d@>=2"
    )


def test_a_provider_that_is_installed_meets_a_need() -> None:
    there = installed(define("mta-1", provides="mail@1"))
    solver = Solver(there, offers(define("a-1", "mail"), define("mail-1")))

    assert shown(solver.install([wish("a")], PLAIN)) == (["a-1"], [])


def test_what_a_package_provides_to_itself_draws_nothing_in_when_another_one_comes() -> None:
    there = installed(define("q-1", "r", provides="r"))
    solver = Solver(there, offers(define("p-1"), define("r-1")))

    assert shown(solver.install([wish("p")], PLAIN)) == (["p-1"], [])


def test_what_others_need_is_not_removed() -> None:
    there = installed(define("a-1", "b"), define("b-1"), define("d-1"))
    solver = Solver(there, offers())

    with pytest.raises(ResolutionError) as caught:
        solver.uninstall([named("b-1")], CHECKED)

    assert caught.value.chain == ("c/a-1 requires c/b",)
    assert shown(solver.uninstall([named("d-1")], CHECKED)) == ([], ["d-1"])
    forced = solver.uninstall([named("b-1")], RemoveOptions(check=False))
    assert shown(forced) == ([], ["b-1"])
    with_users = solver.uninstall([named("b-1")], RemoveOptions(dependents=True))
    assert shown(with_users) == ([], ["a-1", "b-1"])


def test_what_was_only_there_for_what_goes_goes_too_if_asked() -> None:
    there = [
        *installed(define("a-1", "b shared"), define("user-1", "shared")),
        *installed(define("b-1", "deep"), define("deep-1"), define("shared-1"), requested=False),
    ]
    solver = Solver(there, offers())

    assert shown(solver.uninstall([named("a-1")], CHECKED)) == ([], ["a-1"])
    full = solver.uninstall([named("a-1")], RemoveOptions(full=True))
    assert shown(full) == ([], ["a-1", "b-1", "deep-1"])


def test_one_package_comes_in_place_of_another() -> None:
    there = installed(define("old-1", provides="tool@1"), define("user-1", "tool"))
    solver = Solver(there, offers(define("new-1", provides="tool@1"), define("old-1")))

    decision = solver.replace([named("old-1")], [wish("new")], PLAIN)

    assert shown(decision) == (["new-1"], ["old-1"])


def test_reinstalling_needs_the_same_version_in_a_repository() -> None:
    solver = Solver(installed(define("a-1"), define("b-1")), offers(define("a-1"), define("b-2")))

    assert shown(solver.reinstall([named("a-1")])) == (["a-1"], ["a-1"])
    with pytest.raises(ResolutionError, match="c/b-1 is in no repository any more"):
        solver.reinstall([named("a-1"), named("b-1")])


def test_finalizers_run_in_the_order_in_which_packages_need_each_other() -> None:
    there = installed(
        define("a-1", "d b"), define("b-1", "virtual"), define("e-1", provides="virtual@1"),
        define("d-1"), define("ring1-1", "ring2"), define("ring2-1", "ring1 d"),
    )  # fmt: skip

    order = [each.id.name for each in in_order(there)]

    assert sorted(order) == ["a", "b", "d", "e", "ring1", "ring2"]
    for user, need in [("a", "d"), ("a", "b"), ("b", "e"), ("ring2", "d")]:
        assert order.index(need) < order.index(user)
    assert [each.id.name for each in in_order(reversed(there))] == order


NEEDED = "name that too, or in its place what provides it; --nodeps replaces it nevertheless"


def test_what_something_that_stays_needs_is_not_replaced_by_what_is_not_that() -> None:
    there = installed(define("app-1", "lib"), define("lib-1"))
    solver = Solver(there, offers(define("app-1", "lib"), define("lib-1"), define("alt-1")))

    with pytest.raises(ResolutionError) as caught:
        solver.replace([named("lib-1")], [wish("alt")], PLAIN)

    assert str(caught.value) == (
        f"what is to be removed is needed by c/app-1 ({NEEDED})\n  c/app-1 requires c/lib"
    )
    nevertheless = solver.replace([named("lib-1")], [wish("alt")], InstallOptions(nodeps=True))
    assert shown(nevertheless) == (["alt-1"], ["lib-1"])


def test_what_something_needs_is_replaced_by_what_provides_it() -> None:
    there = installed(define("app-1", "lib"), define("lib-1"))
    solver = Solver(there, offers(define("lib-1"), define("alt-1", provides="lib")))

    assert shown(solver.replace([named("lib-1")], [wish("alt")], PLAIN)) == (["alt-1"], ["lib-1"])
    with pytest.raises(ResolutionError, match=r"is needed by c/app-1 "):
        solver.replace([named("lib-1")], [wish("alt")], InstallOptions(onlydeps=True))


def test_what_needs_what_is_replaced_is_upgraded_where_it_can_do_without() -> None:
    there = installed(define("app-1", "lib"), define("lib-1"))
    solver = Solver(there, offers(define("app-2", "alt"), define("lib-1"), define("alt-1")))

    decision = solver.replace([named("lib-1")], [wish("alt")], PLAIN)

    assert shown(decision) == (["alt-1", "app-2"], ["app-1", "lib-1"])


def test_a_version_that_something_needs_is_not_replaced_by_another_one() -> None:
    there = installed(define("app-1", "lib@<2"), define("lib-1"))
    solver = Solver(there, offers(define("lib-1"), define("lib-2")))

    with pytest.raises(ResolutionError, match=r"is needed by c/app-1 "):
        solver.replace([named("lib-1")], [wish("lib@2")], PLAIN)


def test_a_system_that_misses_something_already_can_still_have_packages_replaced() -> None:
    there = installed(define("app-1", "lib", conflicts="foe"), define("foe-1"), define("old-1"))
    solver = Solver(there, offers(define("new-1")))

    assert list(solver.unmet()) == [(named("app-1"), wish("lib"))]
    assert shown(solver.replace([named("old-1")], [wish("new")], PLAIN)) == (["new-1"], ["old-1"])
