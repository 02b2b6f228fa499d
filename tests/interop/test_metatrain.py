"""PET against metatrain's PyTorch PET: every branch, every layer, every output.

Tolerances are relative to the largest entry of what is compared: 1e-10 in float64, in
which both sides round a few thousand operations (1e-13 is typical), and 1e-5 in
float32.
"""

import gzip
import itertools
import pathlib
import warnings

import ase.build
import ase.io
import pytest

from symjax.interop import load_metatrain
from symjax.models import fingerprint, load_model, save_model

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
metatrain = pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_parity import TOLERANCE, compare  # noqa: E402
from torch_pet import COLUMNS, IN_CI, ROWS, VARIANTS, make_variant  # noqa: E402

warnings.filterwarnings("ignore")

pytestmark = pytest.mark.filterwarnings("ignore")

INSTALLED = pathlib.Path(metatrain.__path__[0])
# One of each version of the model, by version; versions of the trainer do not matter.
OLDER = sorted(
    {
        path.name.split("_")[0]: path
        for path in (INSTALLED / "pet/tests/checkpoints").glob("model-v*.ckpt.gz")
    }.values()
)
# metatrain raises atomic numbers to 0.23 in float32 whatever the dtype: a relative
# error of 6e-8, times exponents of the screening function of up to about 20. At the end
# of the repulsion, where polynomials cancel, float32 leaves a few digits of the forces.
TOLERANCE_ZBL = {"float64": 3e-6, "float32": 1e-2}


def structures(shared):
    """Molecules and crystals by name, of hydrogen, carbon, oxygen and copper."""
    ethanol = ase.build.molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=1)
    ethanol.info.update(charge=-1, spin_multiplicity=2)
    found = {"ethanol": ethanol}
    frames = ase.io.read(shared / "data" / "ethanol_reduced_100.xyz", ":")
    found |= {f"ethanol, frame {index}": frames[index] for index in (0, 57)}
    small = ase.io.read(shared / "data" / "qm9_reduced_100.xyz", ":")
    known = [atoms for atoms in small if set(atoms.numbers) <= {1, 6, 8}]
    for index in (0, len(known) // 2, -1):
        found[f"qm9, {known[index].get_chemical_formula()}"] = known[index]

    copper = ase.build.bulk("Cu") * (2, 1, 1)
    copper.rattle(0.05, seed=2)
    oxide = ase.build.bulk("CuO", "rocksalt", a=4.2, cubic=True)
    del oxide[[3]]
    oxide.rattle(0.1, seed=3)
    oxide.info.update(charge=2, spin_multiplicity=3)
    hexagonal = ase.build.bulk("Cu", "hcp", a=2.6, c=4.2)
    triclinic = ase.Atoms(
        "C2OH",
        scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.2], [0.7, 0.6, 0.5], [0.2, 0.8, 0.7]],
        cell=[[4.1, 0.2, 0.1], [1.3, 3.9, -0.4], [-0.8, 1.1, 4.4]],
        pbc=True,
    )
    slab = ase.build.fcc111("Cu", (1, 1, 3), vacuum=4.0)
    ase.build.add_adsorbate(slab, "H", 1.5, "fcc")
    slab.pbc = (True, True, False)
    wire = ase.Atoms("CO", [[0, 0, 0], [1.2, 0.3, 0.2]], cell=[2.6, 9, 9])
    wire.pbc = (True, False, False)
    return found | {
        "tiny cell": copper,
        "one atom, 80 images": ase.build.bulk("C", "sc", a=1.62),
        "rocksalt, vacancy": oxide,
        "hexagonal": hexagonal,
        "triclinic": triclinic,
        "slab": slab,
        "wire": wire,
        "isolated atom": ase.Atoms("OHH", [[0, 0, 0], [0, 0, 0.97], [30, 0, 0]]),
        "isolated atoms": ase.Atoms("CO", [[0, 0, 0], [0, 9, 0]]),
        "single atom": ase.Atoms("C", [[0.0, 0.0, 0.0]]),
        "single atom in a cell": ase.Atoms("Cu", cell=3 * [12.0], pbc=True),
    }


def checked(variant, dtype, folder, cases):
    """Imports a variant through both kinds of file and compares it."""
    reference = make_variant(variant)
    torch.save(reference.get_checkpoint(), folder / "model.ckpt")
    reference.export().save(folder / "model.pt")
    model = load_metatrain(folder / "model.ckpt", "model", verify=False)
    exported = load_metatrain(folder / "model.pt", "model", verify=False)
    assert fingerprint(exported) == fingerprint(model)
    save_model(model, folder / "model")
    model = load_model(folder / "model")
    errors = compare(reference, model, dtype, cases)
    errors.check((TOLERANCE_ZBL if variant == "zbl" else TOLERANCE)[dtype])
    return errors


def test_variants_cover_pairs():
    columns = list(zip(*ROWS, strict=True))
    kinds = list(zip(columns[0], columns[1], strict=True))
    for one, two in itertools.combinations([kinds, *columns[2:]], 2):
        pairs = set(zip(one, two, strict=True))
        assert len(pairs) == len(set(one)) * len(set(two))
    assert len(COLUMNS) == len(columns)


@pytest.mark.torch
@pytest.mark.parametrize("variant", IN_CI)
def test_parity_small(variant, shared, tmp_path):
    names = ("ethanol", "tiny cell", "slab", "isolated atom", "single atom")
    cases = {name: structures(shared)[name] for name in names}
    checked(variant, "float64", tmp_path, cases)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parity(variant, dtype, shared, tmp_path):
    checked(variant, dtype, tmp_path, structures(shared))


def same_as_metatrain(path, tolerances):
    """Every layer and output of a checkpoint."""
    from metatrain.utils.io import model_from_checkpoint

    model = load_metatrain(path, verify=False)
    known = set(model.config.species)
    molecules = [ase.build.molecule(name) for name in ("CH3CONH2", "H2O", "CO", "O")]
    crystal = ase.build.bulk("C", a=3.6) * (1, 1, 2)
    crystal.rattle(0.1, seed=1)
    cases = {
        atoms.get_chemical_formula(): atoms
        for atoms in (*molecules, crystal)
        if set(atoms.numbers) <= known
    }
    assert len(cases) > 3
    for dtype, tolerance in tolerances.items():
        # Anew each time: metatrain rounds its baselines to the dtype it runs in.
        with gzip.open(path) as file:
            contents = torch.load(file, weights_only=False)
        reference = model_from_checkpoint(contents, context="export").eval()
        compare(reference, model, dtype, cases).check(tolerance)


@pytest.mark.torch
def test_the_shared_checkpoint(shared):
    # Its width of 1 makes LayerNorm divide the difference of two numbers by itself,
    # which loses digits where they are close.
    tolerances = {"float64": TOLERANCE["float64"], "float32": 1e-3}
    path = shared / "checkpoints" / "metatrain-pet-v16.ckpt.gz"
    same_as_metatrain(path, tolerances)


@pytest.mark.parity
@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
def test_older_versions(path):
    same_as_metatrain(path, {"float64": TOLERANCE["float64"]})
