"""Parameters by path: names of targets may hold what separates keys."""

from symjax.models._paths import flatten, join_path, split_path, unflatten


def test_there_and_back():
    keys = ("scale", "energy/pbe", "100%2F", "")
    assert join_path("scale", "energy/pbe", "100%") == "scale/energy%2Fpbe/100%25"
    assert split_path(join_path(*keys)) == keys
    tree = {"scale": {"energy/pbe": {"scalar": 1}, "energy": {"pbe/scalar": 2}}}
    leaves = flatten(tree)
    assert len(leaves) == 2
    assert unflatten(leaves) == tree
