"""What a hurried user passes wrongly is refused in one line, with what to write.

Each of these gave a number that meant nothing, or an error of NumPy or JAX about
something else. What is close to it and right has its own value, in the tests below.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ArgumentError, SymjaxError
from symjax.metrics import (
    Adaptive,
    Execution,
    Grid,
    Groups,
    HaarSamples,
    HostFunction,
    LabelErrors,
    Output,
    Problem,
    Sampled,
    StagedProblem,
    Survey,
    add_label_errors,
    add_spectra,
    cheapest,
    frontier,
    held_out,
    label_errors,
    measure,
    measure_many,
    optimised,
    pool,
    probe,
    response_spectra,
    sector_shares,
    trace,
    with_forces,
)
from symjax.metrics.consistency import sampled_elements
from symjax.metrics.pooling import Sums
from symjax.so3 import SCALAR, VECTOR, Irrep, finite_group
from symjax.so3.averages import Rotations

X = np.array([[1.0, 0.2, 0.1], [0.0, 2.0, 0.5], [0.3, 0.1, 1.0], [0.4, 0.7, -1.0]])
GRID = Grid(5)
NONE = np.zeros(0, int)
MOVES = np.eye(12).reshape(12, 4, 3)
PAIR = np.stack([np.eye(3), -np.eye(3)])


def both(x):
    return {"e": x[0, 2] ** 2, "f": x + 0.1 * x**2}


OUTPUTS = {"e": Output(SCALAR, unit="eV"), "f": Output(VECTOR, unit="eV/angstrom")}
PROBLEM = Problem(both, X, OUTPUTS)


@pytest.fixture(scope="module")
def found():
    """A measurement on a grid, and one from random elements."""
    return (
        measure(PROBLEM, over=GRID, max_degree=2),
        measure(PROBLEM, over=HaarSamples(8), max_degree=2),
    )


@pytest.fixture(scope="module")
def surveyed():
    problems = {str(i): Problem(both, X + i, OUTPUTS) for i in range(3)}
    return measure_many(problems, over=Survey(8), max_degree=1).pool


def of(function=lambda x: x, x=X, representations=VECTOR, over=GRID, **more):
    more = {"max_degree": 2, **more}
    return measure(function, x, representations=representations, over=over, **more)


def masked(mask, over=GRID):
    output = Output(VECTOR, mask=np.asarray(mask))
    return measure(Problem(lambda x: x, X, {"output": output}), over=over, max_degree=1)


def one(x, **fields):
    """A survey of one structure."""
    output = Output(VECTOR, **fields)
    return Problem(lambda x: {"f": x}, x, {"f": output})


def sampled(label, num=4):
    sums = Sums(np.ones(num), np.ones(num), np.ones(num), 1.0)
    return Sampled(label, 1, {("e", 0): sums})


def network(x, shifts):
    h = x[0] ** 2 + 0.1 * x[0]
    return {"y": (h + shifts.get("h", 0)).sum()}, {"h": h}


def staged(function=network, stages=(("h",),), labels=None):
    output = Output(SCALAR, labels=labels)
    problem = Problem(lambda x: network(x, {})[0], X, {"y": output})
    return StagedProblem(problem, stages, function)


def of_kind(dtype):
    """A network whose features have another type."""

    def function(x, shifts):
        outputs, features = network(x, shifts)
        return outputs, {"h": features["h"].astype(dtype)}

    return function


def probed(rows=None, tensors=None, **more):
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 5)) if rows is None else rows
    known = {Irrep(1, 1): random.normal(size=(40, 3, 1))}
    return probe({"a": rows}, known if tensors is None else tensors, OWNER, **more)


OWNER = np.arange(40) // 4
INF = np.full((4, 3), np.inf)
OUT_OF_RANGE = np.array([2**40])
LONG = X.astype(np.longdouble)
IS_LONG = np.longdouble is not float and np.finfo(np.longdouble).bits > 64

REFUSED = [
    # arguments of functions
    *[
        (lambda args=args: of(lambda x, *a: x, args=args), "args=.*Pass a tuple")
        for args in (np.ones(2), {"a": 1.0}, "abc", 2.0, None)
    ],
    (lambda: Problem(both, X, OUTPUTS, args=np.ones(2)), "args=.*Pass a tuple"),
    (lambda: measure(PROBLEM, args=np.ones(2)), "args='ndarray': is part of"),
    (lambda: Problem(both, X, VECTOR), "outputs=.*Representation.*Output"),
    (lambda: Problem(both, X, Output(VECTOR)), "outputs=.*is an object of Output"),
    (lambda: Problem(both, X, {"e": SCALAR}), r"outputs\['e'\]=.*Representation"),
    (lambda: Output(VECTOR, reads="layer"), r"reads='layer'.*\('layer',\)"),
    (lambda: response_spectra(both, 2), "problem=.*Pass Problem"),
    (lambda: response_spectra(PROBLEM, 2, 5, execution=3), "execution=3"),
    (lambda: HostFunction("f"), "function='f': is not callable"),
    *[
        (lambda value=value: Execution(memory=value), "memory=.*number of bytes")
        for value in (True, 0, 0.5, np.inf, np.nan, "4 GiB")
    ],
    *[
        (lambda value=value: Execution(batch_size=value), "batch_size=.*not an integer")
        for value in (True, 0, 2.0, "2")
    ],
    (lambda: Execution(progress=3), "progress=3"),
    (lambda: of(x=None), "x=None: holds no numbers"),
    (lambda: of(x=np.zeros((0, 3))), "holds no numbers"),
    # masks and what is picked
    *[
        (lambda over=over: masked(4 * [False], over), r"masks\['output'\].*no sample")
        for over in (GRID, Adaptive(), HaarSamples(8), finite_group("C2"))
    ],
    (lambda: masked(np.ones((4, 3), bool)), r"masks\['output'\].*boolean array"),
    (lambda: masked([0, 1, 2, 3]), r"masks\['output'\].*boolean array"),
    # numbers that float64 cannot hold
    *[
        (lambda over=over: of(HostFunction(large), X, SCALAR, over), "float64 cannot")
        for over in (GRID, HaarSamples(8), finite_group("C2"))
    ],
    # labels
    (lambda: Output(VECTOR, unit=1), "unit=1"),
    (lambda: add_label_errors([LabelErrors(np.ones((1, 3)), {})]), r"sums=\(1, 3\)"),
    (lambda: LabelErrors(np.ones((4, 10)), {}).interval(95), "confidence=95"),
    (lambda: LabelErrors(np.ones((4, 10)), {}).share_of_error(-1), "left=-1"),
    # pools and surveys
    (lambda: pool([sampled("a"), sampled("a")]), "labels='a'.*two structures"),
    (lambda: pool([sampled("a"), sampled("b", 6)]), "has 19 sums.*max_degree"),
    (lambda: pool(sampled("a")), "items=.*Pass a list"),
    (lambda: pool(["a"]), "items='a'"),
    (
        lambda: measure_many(
            {"a": one(X, unit="eV"), "b": one(X, unit="kcal/mol")}, over=Survey(8)
        ),
        r"problems\['b'\].outputs\['f'\].unit='kcal/mol': differs.*'eV'",
    ),
    (
        lambda: measure_many({"a": one(X, mask=np.zeros(4, bool))}, over=Survey(8)),
        "no sample",
    ),
    (lambda: measure_many([one(X)], over=Survey(8)), "problems=.*label: problem"),
    (lambda: measure_many({0: one(X)}, over=Survey(8)), "label=0"),
    (lambda: measure_many({"a": X}, over=Survey(8)), "problem=.*ndarray"),
    (lambda: measure_many({"a": one(X)}, over=GRID), "over=.*Pass Survey"),
    (lambda: measure_many({"a": one(X)}, over=Survey(8), groups={"a": 1}), "groups="),
    (lambda: Groups(strata=[1, 2]), r"strata=\[1, 2\]"),
    (lambda: Survey(until="a"), "until='a'"),
    (lambda: Survey(turn=["C2"]), r"name=\['C2'\]"),
    (lambda: Survey(turn="C5000"), "name='C5000'"),
    (lambda: HaarSamples(8000, turn="fibonacci 1000"), "name='fibonacci 1000'"),
    (lambda: Adaptive(outputs="output"), r"outputs='output'.*\('energy',\)"),
    (lambda: Adaptive(outputs=()), "outputs=None"),
    (lambda: sampled_elements(2.5), "num=2.5"),
    (lambda: sampled_elements(4, -1), "seed=-1"),
    # stages
    (lambda: trace(staged(stages=(("H",),)), 2), "stages='H': is not a feature.*of h"),
    (lambda: trace(staged(stages=(("h", "g"),)), 2), "stages='g': is not a feature"),
    (lambda: staged(stages="h"), "stages='h'"),
    (lambda: staged(stages=("h",)), "stages='h'"),
    (lambda: staged(stages=()), "has an empty stage"),
    (lambda: trace(staged(of_kind(int)), 2), r"features\['h'\]=dtype\('int"),
    (lambda: trace(staged(of_kind(complex)), 2), r"features\['h'\]=dtype\('complex"),
    (
        lambda: trace(staged(lambda x, s: ({"z": x.sum()}, {"h": x[0]})), 2),
        r"function=\['z'\]: are not the outputs \['y'\]",
    ),
    (lambda: trace(staged(lambda x, s: network(x, s)[0]), 2), "function=.*features"),
    (lambda: trace(staged(labels=np.ones(3)), 2), r"outputs\['y'\].labels=\(3,\)"),
    (lambda: trace(staged(labels=np.array(1j)), 2), "labels=dtype.*not real numbers"),
    (lambda: trace(PROBLEM, 2), "staged=.*Pass a StagedProblem"),
    *[
        (lambda value=value: sector_shares(staged(), value, 2), "stage=.*integer")
        for value in (-1, 0.0, True, "h")
    ],
    (lambda: sector_shares(staged(), 1, 2), "one of 1 stages"),
    (lambda: sector_shares(staged(), 0, 2, orders=2.5), "orders=2.5"),
    (lambda: sector_shares(staged(), 0, 2, seed=-1), "seed=-1"),
    (lambda: with_forces(staged(), "y", np.eye(12)), "displacements=.*three per atom"),
    (lambda: with_forces(staged(), "y", MOVES[:8]), "displacements="),
    (lambda: trace(staged(), 1).contributions("q"), "name='q'.*Use one of y"),
    (lambda: trace(staged(), 1).blamed("q"), "name='q'.*Use one of y"),
    (lambda: trace(staged(), 1).interactions("y"), "name='y'.*sectors=True"),
    (
        lambda: with_forces(staged(HostFunction(network)), "y", MOVES),
        "staged='network'",
    ),
    # averages
    *[
        (
            lambda elements=elements, weights=weights: spectrum().after(
                Rotations("mine", elements, weights)
            ),
            text,
        )
        for elements, weights, text in (
            (PAIR, np.ones(2), "weights=.*sum 1"),
            (PAIR, np.array([np.nan, 1.0]), "weights=.*sum 1"),
            (PAIR, np.ones(3) / 3, "weights=.*one real number for each"),
            (PAIR, np.ones((2, 1)) / 2, "weights="),
            (PAIR, np.array([0.5, 0.5 + 0j]), "weights=.*one real number"),
            (PAIR[:0], np.ones(0), "weights="),
            (np.eye(3), np.ones(1), "weights="),
            (2 * PAIR, np.full(2, 0.5), "elements.*is not orthogonal"),
        )
    ],
    *[
        (lambda more=more: optimised([spectrum()], **more), "=.*is not an integer")
        for more in (
            {"num": 2.5},
            {"num": True},
            {"num": 0},
            {"num": "2"},
            {"num": 2, "starts": 0},
            {"num": 2, "starts": 2.5},
            {"num": 2, "starts": True},
            {"num": 2, "seed": -1},
        )
    ],
    # numbers that memory has no place for
    (lambda: optimised([spectrum()], 10**7), "num=10000000: takes .* GiB"),
    (lambda: HaarSamples(10**9), "num=1000000000: takes 96.9 GiB.*41297762 or less"),
    (lambda: Adaptive(samples=10**9), "samples=1000000000: takes 96.9 GiB"),
    (lambda: Survey(10**9), "num=1000000000: takes 96.9 GiB"),
    (
        lambda: trace(staged(), 2, sectors=True, execution=Execution(memory=10**5)),
        "rule='84 rotations'.*lower degree",
    ),
    (lambda: optimised([], 2), r"spectra=\[\]"),
    (lambda: optimised({"e": spectrum()}, 2), "spectra=.*is not ResponseSpectrum"),
    (lambda: optimised(spectrum(), 2), "spectra="),
    (lambda: frontier({"e": spectrum()}), "spectrum="),
    (lambda: cheapest({"e": spectrum()}, 0.1), "limits=0.1"),
    (lambda: cheapest(spectrum(), {"e": 0.1}), "spectra="),
    *[
        (
            lambda limit=limit: cheapest({"e": spectrum()}, {"e": limit}),
            r"limits\['e'\]",
        )
        for limit in (-1, np.nan, "a", None)
    ],
    (lambda: held_out({"e": 2 * [spectrum()]}, {"q": 1.0}), "limits='q'"),
    (lambda: held_out({"e": spectrum()}, {"e": 1.0}), r"spectra\['e'\]"),
    (lambda: add_spectra(spectrum()), "spectra="),
    # probes
    *[
        (lambda more=more: probed(**more), next(iter(more)))
        for more in (
            {"level": "a"},
            {"level": True},
            {"seed": -1},
            {"seed": 1.5},
            {"epsilon": -1},
            {"epsilon": "a"},
        )
    ],
    (lambda: probed(np.ones((40, 5)) * 1j), r"features\['a'\].*not real numbers"),
    (lambda: probed(np.zeros((40, 0))), r"features\['a'\]=\(40, 0\)"),
    (lambda: probed(tensors={"1+": np.ones((40, 3, 1))}), "tensors='1.'"),
    (lambda: probed(tensors={Irrep(2, 1): np.ones((40, 3, 1))}), "5 components of 2"),
    (lambda: probed(tensors=np.ones((40, 3, 1))), "tensors="),
]


def large(x):
    return np.array([2**60 + 1, 2**60])


@pytest.fixture(scope="module", autouse=True)
def _spectra(found):
    SPECTRA["e"] = found[0]["e"].response


SPECTRA = {}


def spectrum():
    return SPECTRA["e"]


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused(call, text):
    with pytest.raises(SymjaxError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(caught.value.remedy) > 5


def test_what_is_picked_is_a_mask(found, surveyed):
    """Indices of the right length would be taken for truth values, or as weights."""
    leaf = found[0]["f"]
    for select in (np.arange(4), np.array([1, 0, 1, 0]), np.ones(4), [True, False], 0):
        with pytest.raises(ArgumentError, match=r"select=.*boolean"):
            leaf.totals(select)
    picked = leaf.totals(np.isin(np.arange(4), [1, 2]))
    np.testing.assert_allclose(picked.norm, leaf.norm[1:3].sum(axis=0))
    for select in (np.array([0, 2]), np.ones(3), np.array([0, 1, 1]), [True, False], 2):
        with pytest.raises(ArgumentError, match=r"select=.*boolean"):
            surveyed.error("f", select=select)
    with pytest.raises(ArgumentError, match="selects no structure"):
        surveyed.error("f", select=np.zeros(3, bool))
    alone = surveyed.error("f", select=np.array([False, True, False]))
    assert alone.value**2 == pytest.approx(surveyed.by_item("f")[1])
    for sector in ((1, 2), (1, 0), (1, "+"), (-1, 1), (1.0, 1), ("1", 1)):
        with pytest.raises(ArgumentError):
            surveyed.content("f", *sector)


@pytest.mark.parametrize(
    "labels",
    [X.T, X + 0j, X > 0, np.full((4, 3), "a"), X.ravel(), X[:2], None, INF],
    ids=str,
)
def test_labels_are_those_of_the_output(found, labels):
    with pytest.raises(ArgumentError, match="labels="):
        label_errors(found[0]["f"], labels, NONE)


def test_numbers_and_uncertainties_are_those_of_the_structure(found):
    grid, random = found
    leaf = grid["f"]
    for numbers in (["H"], [1.5], np.ones((2, 2), int), 3, None):
        with pytest.raises(ArgumentError, match="numbers="):
            label_errors(leaf, X, numbers)
    for own in (grid["e"], 0.1):
        with pytest.raises(ArgumentError, match="uncertainty="):
            label_errors(leaf, X, NONE, own)
    with pytest.raises(ArgumentError, match="leaf="):
        label_errors(grid, X, NONE)
    # One energy has labels of both shapes, and integers are numbers.
    wanted = abs(float(grid["e"].mean) - 1)
    for label in (1, np.array([1.0])):
        found = label_errors(grid["e"], label, NONE)
        assert found.error_of(mean=True) == pytest.approx(wanted)
    for content in (1, ("1", "+"), None):
        with pytest.raises(ArgumentError, match="label="):
            leaf.content_of(content)
    with pytest.raises(ArgumentError, match="spectra="):
        add_spectra([grid["e"].response, random["e"].response])
    with pytest.raises(ArgumentError, match="spectra="):
        optimised([random["e"].response], 2)


def test_integers_have_their_own_values():
    """Above 2^24 float32 would round away all that varies."""

    def count(x):
        return jnp.array([2**24]) + jnp.array([1]) * (x[0, 2] > 0)

    results = [
        of(count, over=over, representations=SCALAR, max_degree=0)
        for over in (HaarSamples(256), Grid(5, on_aliasing="report"))
    ]
    for result in results:
        # Half of the orientations have one more: a standard deviation of 1 / 2.
        assert result["output"].equivariance_error == pytest.approx(0.5, abs=0.03)
        assert float(result["output"].mean[0]) == pytest.approx(2**24 + 0.5, abs=0.1)


@pytest.mark.parametrize(("dtype", "epsilon"), [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_half_precisions_are_known_to_their_own_digits(dtype, epsilon):
    """Their round-off is no broken symmetry: A is not told from it."""
    result = of(lambda x: x.astype(dtype), over=Adaptive())["output"]
    assert 0 < result.relative_error < epsilon
    assert result.certificate.certified
    assert result.certificate.noise > epsilon
    single = of(over=Adaptive())["output"]
    assert single.certificate.noise < 1e-5


@pytest.mark.parametrize(
    ("x", "args", "text"),
    [
        (X, (OUT_OF_RANGE,), r"args\[0\]=.*1099511627776.*int32.*enable_x64"),
        (X, ({"a": 2**40},), r"args\[0\]\['a'\]=.*1099511627776.*int32"),
        (X, (np.array([1e300]),), r"args\[0\]=.*1e.300.*float32.*enable_x64"),
        (X * 1e300, (), "x=.*float32"),
        ({"r": X, "n": OUT_OF_RANGE}, (), r"x\['n'\]=.*not fit int32"),
    ],
)
def test_numbers_that_jax_would_change_are_refused(x, args, text):
    """Without 64 bits, JAX wraps integers around, and makes infinities."""
    action = {"r": VECTOR, "n": SCALAR} if isinstance(x, dict) else VECTOR
    with jax.enable_x64(False), pytest.raises(ArgumentError, match=text):
        of(lambda x, *a: jnp.ones(3), x, action=action, args=args)


@pytest.mark.skipif(not IS_LONG, reason="long doubles are doubles here")
def test_long_doubles_are_refused():
    for function, x in (
        (lambda x: x, LONG),
        (HostFunction(lambda x: x), LONG),
        (HostFunction(lambda x: x.astype(np.longdouble)), X),
    ):
        with pytest.raises(ArgumentError, match="JAX"):
            of(function, x)


def test_what_looks_alike_and_is_right():
    plain = of(lambda x, a: a * x, args=(2.0,))["output"]
    for args in ([2.0], (np.array(2.0),)):
        assert of(lambda x, a: a * x, args=args)["output"].norm == pytest.approx(
            plain.norm
        )
    assert of(memory=1e9)["output"].norm == pytest.approx(plain.norm / 4)
    with jax.enable_x64(True):
        large = of(lambda x, n: x * (n == 2**40), args=(OUT_OF_RANGE,))["output"]
    assert large.norm == pytest.approx(plain.norm / 4)
    mixed = {"a": one(X, unit="eV"), "b": one(X + 1, unit="eV")}
    assert measure_many(mixed, over=Survey(8), max_degree=1).pool.names == ("f",)
    assert dataclasses.replace(PROBLEM, args=[1.0]).args == (1.0,)
