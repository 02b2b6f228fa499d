"""Runs over structures: journal, resuming, failures, and the numbers themselves."""

import dataclasses
import functools

import ase.build
import fake_model
import jax
import numpy as np
import pytest
from fake_model import molecules

from symjax.data.quantities import Target
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.metrics import Adaptive
from symjax.models.pet import PETConfig
from symjax.models.pet.source import padded_shapes
from symjax.report import ReportError, read_report
from symjax.report.storage import structure_to_json
from symjax.report.tables import to_text
from symjax.runs import Destination, Options, measure_items, run

OPTIONS = Options(max_degree=1, dtype="float64")
NAMES = ("H2O", "CH3OH", "C2H6")


class TestNumbers:
    def test_closed_form(self, model, tmp_path):
        report = measure_items(model, molecules(*NAMES), OPTIONS, tmp_path / "out")
        leaves = report.aggregate()
        # z = x + c |x| g^-1 n, so V = c^2 |x|^2 and <|z|^2> = (1 + c^2) |x|^2.
        c = fake_model.BREAKING
        x = np.concatenate([a.positions + 0.5 for a in molecules(*NAMES).values()])
        square = np.sum(x**2)
        forces = leaves["forces"].totals
        # exact quadrature, hence the round-off of 1e2 float64 additions
        assert forces.equivariance_error == pytest.approx(
            c * np.sqrt(square / x.size), rel=1e-12
        )
        assert forces.relative_error == pytest.approx(c / np.hypot(1, c), rel=1e-12)
        assert forces.content[1, 0] == pytest.approx(1 / (1 + c**2), rel=1e-12)
        assert forces.content[0, 0] == pytest.approx(c**2 / (1 + c**2), rel=1e-9)
        assert leaves["energy"].totals.relative_error < 1e-7
        assert report.resolved

    @pytest.mark.parametrize(
        ("names", "chosen", "line"),
        [
            (("energy",), None, None),
            (("energy/pbe",), None, "forces      derivatives of energy/pbe"),
            (("energy", "U"), "U", "forces      derivatives of U"),
            (("U",), None, "forces      none: no target is named energy"),
        ],
    )
    def test_the_head_says_where_forces_come_from(
        self, model, names, chosen, line, tmp_path
    ):
        model.config.targets = tuple(Target(name, "eV") for name in names)
        options = dataclasses.replace(OPTIONS, energy=chosen)
        report = measure_items(model, molecules("H2O"), options, tmp_path / "out")
        head = [row for row in to_text(report).splitlines() if row[:7] == "forces "]
        assert (line is None) == (not any("derivat" in h or "none" in h for h in head))
        assert line is None or any(row.startswith(line) for row in head)
        again = read_report(tmp_path / "out")
        assert again.settings.energy == (
            chosen or ("" if names == ("U",) else names[0])
        )

    def test_several_energies_are_chosen_from_before_anything_is_written(
        self, model, tmp_path
    ):
        model.config.targets = (Target("energy/a", "eV"), Target("energy/b", "eV"))
        with pytest.raises(ModelError, match="Name one of energy/a, energy/b"):
            measure_items(model, molecules("H2O"), OPTIONS, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_species_add_up_and_match_the_closed_form(self, model, tmp_path):
        structures = molecules(*NAMES)
        report = measure_items(model, structures, OPTIONS, tmp_path / "out")
        forces = report.aggregate()["forces"]
        assert set(forces.species) == {"H", "C", "O"}
        for field in ("variance", "norm", "power", "count"):
            parts = sum(getattr(t, field) for t in forces.species.values())
            # sums of the same numbers in another order
            assert parts == pytest.approx(getattr(forces.totals, field), rel=1e-12)
        carbon = np.concatenate(
            [(a.positions + 0.5)[a.numbers == 6] for a in structures.values()]
        )
        assert forces.species["C"].count == pytest.approx(carbon.size)
        assert forces.species["C"].variance.sum() == pytest.approx(
            fake_model.BREAKING**2 * np.sum(carbon**2), rel=1e-12
        )
        assert report.aggregate()["energy"].species == {}

    def test_errors_of_atoms(self, model, tmp_path):
        structures = molecules(*NAMES)
        report = measure_items(model, structures, OPTIONS, tmp_path / "out")
        for structure, atoms in zip(
            report.structures, structures.values(), strict=True
        ):
            found = structure.atoms
            assert found.numbers == tuple(atoms.numbers)
            assert found.positions.tolist() == atoms.positions.tolist()
            assert list(found.errors) == ["forces"]
            lengths = np.linalg.norm(atoms.positions + 0.5, axis=1)
            expected = fake_model.BREAKING * lengths / np.sqrt(3)
            assert found.errors["forces"] == pytest.approx(expected, rel=1e-10)
            # squares average to that of all atoms
            (forces,) = [leaf for leaf in structure.leaves if leaf.name == "forces"]
            mean = np.sqrt(np.mean(found.errors["forces"] ** 2))
            assert mean == pytest.approx(forces.totals.equivariance_error, rel=1e-12)

    def test_padding_does_not_change_results(self, model, tmp_path):
        alone = measure_items(model, molecules("CH3COCH3"), OPTIONS, tmp_path / "alone")
        # acetone has 10 atoms and is padded to the 11 of propane
        together = measure_items(
            model, molecules("C3H8", "CH3COCH3"), OPTIONS, tmp_path / "together"
        )
        first = structure_to_json(alone.structures[0])["leaves"]
        second = structure_to_json(together.structures[1])["leaves"]
        for one, two in zip(first, second, strict=True):
            assert one["totals"]["variance"] == pytest.approx(
                two["totals"]["variance"], rel=1e-9, abs=1e-20
            )

    def test_layers_keep_the_order_of_the_network(self, model, tmp_path):
        options = dataclasses.replace(OPTIONS, layers="all")
        report = measure_items(model, molecules("H2O"), options, tmp_path / "out")
        names = [leaf.name for leaf in report.structures[0].leaves]
        # JAX would sort the layer first
        assert names == ["energy", "forces", "a_layer_node"]

    def test_structures_of_one_bucket_share_one_program(self, model, tmp_path):
        frames = molecules("CH3COCH3", "C3H8")
        shapes, errors = padded_shapes(frames, PETConfig(species=(1, 6, 8), cutoff=8.0))
        assert not errors
        assert len({*shapes.values()}) == 1
        assert next(iter(shapes.values())).num_atoms == 11


class TestCurves:
    def test_end_at_the_reported_values(self, model, tmp_path):
        options = dataclasses.replace(OPTIONS, max_degree=4, layers="all")
        measure_items(model, molecules("H2O"), options, tmp_path / "out")
        # As it comes back from the file.
        report = read_report(tmp_path / "out")
        x = molecules("H2O")["H2O"].positions + 0.5
        expected = fake_model.BREAKING * np.sqrt(np.sum(x**2) / x.size)
        for leaf in report.aggregate().values():
            *coarser, last = leaf.curve(report.settings)
            assert [point.degree for point in coarser] == [3, 5]
            assert last.degree == 9
            assert last.totals is leaf.totals
            if leaf.name == "forces":
                # The square of z has degree 2.
                for point in coarser:
                    assert point.totals.equivariance_error == pytest.approx(
                        expected, rel=1e-9
                    )


class TestAuto:
    OPTIONS = dataclasses.replace(OPTIONS, grid="auto")

    def test_grids_and_certificates_are_recorded(self, model, tmp_path):
        structures = molecules("H2O")
        measure_items(model, structures, self.OPTIONS, tmp_path / "out")
        report = read_report(tmp_path / "out")
        assert report.settings.grid == "auto"
        assert report.settings.adaptive.limit == report.settings.degree == 59
        assert report.settings.seed == 0
        assert report.resolved
        for structure in report.structures:
            assert structure.grid.startswith("adaptive: lebedev")
            for leaf in structure.leaves:
                assert leaf.certificate.certified
                assert leaf.certificate.content_uncertainty < 1e-3
                *coarser, last = leaf.curve(report.settings)
                assert structure.grid.endswith(f"x {last.degree + 1}")
                assert coarser[0].degree == 5
                elements = sum(point.num_elements for point in (*coarser, last))
                assert elements == structure.num_elements
        c = fake_model.BREAKING
        forces = report.aggregate()["forces"].totals
        assert forces.relative_error == pytest.approx(c / np.hypot(1, c), rel=1e-9)

    def test_what_is_not_certified_is_not_resolved(self, monkeypatch, tmp_path):
        short = functools.partial(Adaptive, limit=9, on_aliasing="report")
        monkeypatch.setattr(Options, "over", property(lambda self: short()))
        model = fake_model.FakeModel(rough=True)
        options = self.OPTIONS
        report = measure_items(model, molecules("H2O"), options, tmp_path / "out")
        energy = report.aggregate()["energy"]
        assert not report.resolved
        assert not energy.resolved
        assert energy.convergence.reason == energy.certificate.reason != ""
        assert energy.convergence.degree_to_try == 11
        assert "chosen for each structure, at most degree 9" in to_text(report)

    def test_resuming_needs_the_same_kind_of_grid(self, model, tmp_path):
        structures = molecules("H2O")
        measure_items(model, structures, self.OPTIONS, tmp_path / "out")
        with pytest.raises(ReportError, match="grid"):
            measure_items(
                model, structures, OPTIONS, Destination(tmp_path / "out", resume=True)
            )
        report = measure_items(
            model, structures, self.OPTIONS, Destination(tmp_path / "out", resume=True)
        )
        assert report.resolved


class TestFailures:
    def test_run_goes_on(self, model, tmp_path):
        structures = molecules("H2O", "SiH4", "C2H6")
        structures["twice"] = ase.Atoms("H2", positions=np.zeros((2, 3)))
        report = measure_items(model, structures, OPTIONS, tmp_path / "out")
        assert [s.label for s in report.measured] == ["H2O", "C2H6"]
        failed = {s.label: s.failure for s in report.failed}
        assert failed["SiH4"].type == "StructureError"
        assert "Si" in failed["SiH4"].message
        assert "at the same place" in failed["twice"].message
        # the same from the file
        assert [s.label for s in read_report(tmp_path / "out").failed] == [*failed]

    def test_failed_structures_are_tried_again(self, model, tmp_path):
        folder = tmp_path / "out"
        structures = molecules("H2O", "C2H6")
        structures["C2H6"].positions[1] = np.nan
        first = measure_items(model, structures, OPTIONS, folder)
        assert len(first.failed) == 1
        report = measure_items(
            model, molecules("H2O", "C2H6"), OPTIONS, Destination(folder, resume=True)
        )
        assert not report.failed
        assert len(report.measured) == 2

    def test_only_structure_leaves_nothing_behind(self, model, tmp_path):
        with pytest.raises(StructureError, match="Si"):
            measure_items(model, molecules("SiH4"), OPTIONS, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_too_little_memory(self, model, tmp_path):
        options = dataclasses.replace(OPTIONS, memory=10)
        with pytest.raises(ArgumentError, match="memory=10"):
            measure_items(model, molecules("H2O"), options, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB\nat"),
            jax.errors.JaxRuntimeError("INTERNAL: Out of memory allocating 9 bytes."),
        ],
    )
    def test_out_of_memory_is_a_failure(self, model, tmp_path, monkeypatch, error):
        original = run.measure

        def measure(problem, **kwargs):
            if len(problem.x) > 3:
                raise error
            return original(problem, **kwargs)

        monkeypatch.setattr(run, "measure", measure)
        report = measure_items(
            model, molecules("C2H6", "H2O"), OPTIONS, tmp_path / "out"
        )
        assert [s.label for s in report.measured] == ["H2O"]
        assert "less memory" in report.failed[0].failure.message

    def test_what_no_machine_has_memory_for_is_not_tried(self, model, tmp_path):
        # A cell in units of another kind: each atom has more than 100,000 neighbors.
        tiny = ase.Atoms("H", cell=[0.15] * 3, pbc=True)
        structures = {"tiny": tiny, **molecules("H2O")}
        report = measure_items(model, structures, OPTIONS, tmp_path / "out")
        assert [s.label for s in report.measured] == ["H2O"]
        (failed,) = report.failed
        assert failed.label == "tiny"
        assert "GiB" in failed.failure.message

    def test_bugs_are_not_hidden(self, model, tmp_path, monkeypatch):
        def measure(*args, **kwargs):
            raise jax.errors.JaxRuntimeError("INTERNAL: something")

        monkeypatch.setattr(run, "measure", measure)
        with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
            measure_items(model, molecules(*NAMES), OPTIONS, tmp_path / "out")

    def test_unresolved_result_is_reported(self, tmp_path):
        model = fake_model.FakeModel(rough=True)
        report = measure_items(model, molecules("H2O"), OPTIONS, tmp_path / "out")
        assert not report.resolved
        energy = report.aggregate()["energy"]
        assert not energy.resolved
        assert energy.convergence.degree_to_try > 3
        assert energy.convergence.reason
        assert report.aggregate()["forces"].resolved

    def test_no_structure(self, model, tmp_path):
        with pytest.raises(StructureError, match="none to measure"):
            measure_items(model, {}, OPTIONS, tmp_path / "out")
