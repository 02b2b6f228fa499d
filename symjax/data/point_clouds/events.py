"""Generates labelled, voxelised events in liquid argon.

The physics is sufficient for trajectories to look and cluster as in a detector, so that
examples, tests and training need no download: Bethe energy loss with fluctuations,
multiple scattering, knock-on and Michel electrons, and electromagnetic cascades of
radiation and pair production. There is no detector response and no nuclear interaction.
"""

import dataclasses
import math

import numpy as np

from symjax.data.point_clouds import argon
from symjax.data.point_clouds.clouds import (
    CLASSES,
    PARTICLES,
    PointCloud,
    make_cloud,
)
from symjax.errors import ArgumentError

SHOWER, TRACK, MICHEL, DELTA, LOW = range(len(CLASSES))
_HEAVY = (argon.MUON_MASS, argon.PION_MASS, argon.PROTON_MASS)
_PHOTON, _ELECTRON, _MUON, _PION, _PROTON = range(len(PARTICLES))
_HEAVY_PARTICLES = dict(zip(_HEAVY, (_MUON, _PION, _PROTON), strict=True))
_UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class EventSettings:
    """Settings of :func:`generate_event`.

    Attributes:
      size: Number of voxels along an edge of the cubic detector.
      pitch: Edge length of a voxel in cm.
      tracks: Minimum and maximum number of muons, pions and protons.
      showers: Minimum and maximum number of electrons and photons.
      track_energy: Range of the kinetic energies of muons, pions and protons in MeV,
        drawn log-uniformly.
      shower_energy: The same for electrons and photons.
      delta_minimum: Minimum energy in MeV of knock-on electrons that are simulated.
      threshold: Voxels with at most this energy in MeV are dropped.
      max_points: Only this many points of largest energy are kept; None for no limit.

    Raises:
      ArgumentError: A size or energy is not positive, a range is invalid, or no
        particle can be drawn.

    Example:
      >>> from symjax.data.point_clouds import EventSettings
      >>> EventSettings().size
      768
    """

    size: int = 768
    pitch: float = 0.3
    tracks: tuple[int, int] = (1, 5)
    showers: tuple[int, int] = (0, 3)
    track_energy: tuple[float, float] = (50.0, 1000.0)
    shower_energy: tuple[float, float] = (30.0, 500.0)
    delta_minimum: float = 3.0
    threshold: float = 0.13
    max_points: int | None = None

    def __post_init__(self) -> None:
        for field in ("size", "pitch", "delta_minimum"):
            value = getattr(self, field)
            if not value > 0:
                raise ArgumentError(field, value, "is not positive", "Use the default")
        for field in ("tracks", "showers", "track_energy", "shower_energy"):
            low, high = getattr(self, field)
            if not 0 <= low <= high:
                raise ArgumentError(
                    field, (low, high), "is not a range", "Pass 0 <= minimum <= maximum"
                )
        if self.tracks[1] + self.showers[1] == 0:
            raise ArgumentError(
                "tracks",
                self.tracks,
                "is (0, 0), as is showers: no particle can be drawn",
                "Pass a maximum of at least 1",
            )


SMALL = EventSettings(
    size=128,
    tracks=(1, 3),
    showers=(0, 2),
    track_energy=(40.0, 500.0),
    shower_energy=(30.0, 150.0),
    max_points=512,
)
"""Events of a few hundred points, for tests, examples and the model that ships."""


class _Deposits:
    """Energy deposits of one event, and the particle of each."""

    def __init__(self, generator: np.random.Generator, settings: EventSettings):
        self.generator, self.settings = generator, settings
        self.rows: list[tuple[float, float, float, float, int]] = []
        self.labels: list[int] = []
        self.kinds: list[int] = []

    def particle(self, label: int, kind: int) -> int:
        self.labels.append(label)
        self.kinds.append(kind)
        return len(self.labels) - 1

    def add(self, position: np.ndarray, energy: float, particle: int) -> None:
        self.rows.append((*position.tolist(), energy, particle))


def _inside(position: np.ndarray, settings: EventSettings) -> bool:
    edge = settings.size * settings.pitch
    return bool((position >= 0).all() and (position < edge).all())


def _step(
    deposits: _Deposits,
    position: np.ndarray,
    direction: np.ndarray,
    kinetic: float,
    mass: float,
    particle: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One step with collisional loss: the new position, direction and energy."""
    generator = deposits.generator
    length = 0.5 * deposits.settings.pitch
    mean = argon.stopping_power(kinetic, mass) * length
    # 0.25 is a typical relative width of the loss in 1.5 mm of argon. Knock-on
    # electrons represent the long tail of the Landau distribution.
    loss = min(
        max(mean * (1 + 0.25 * generator.standard_normal()), 0.1 * mean), kinetic
    )
    angle = argon.scattering_angle(kinetic, mass, length)
    offset = math.sqrt(2) * angle * abs(generator.standard_normal())
    new = argon.deflect(direction, offset, generator) if offset > 0 else direction
    deposits.add(position + 0.5 * length * direction, loss, particle)
    return position + length * direction, new, kinetic - loss


def _track(
    deposits: _Deposits,
    position: np.ndarray,
    direction: np.ndarray,
    kinetic: float,
    mass: float,
) -> None:
    """A heavy particle and its secondaries, until it stops or leaves the detector."""
    settings, generator = deposits.settings, deposits.generator
    particle = deposits.particle(TRACK, _HEAVY_PARTICLES[mass])
    while kinetic > 0.01 and _inside(position, settings):
        rate, largest = argon.delta_rate(kinetic, mass, settings.delta_minimum)
        if generator.random() < rate * 0.5 * settings.pitch:
            energy = argon.delta_energy(settings.delta_minimum, largest, generator)
            energy = min(energy, kinetic)
            # cos theta = (T / W) (p_W / p_T) by two-body kinematics
            mass_e = argon.ELECTRON_MASS
            cosine = math.sqrt(
                energy * (largest + 2 * mass_e) / (largest * (energy + 2 * mass_e))
            )
            away = argon.deflect(direction, math.acos(min(cosine, 1.0)), generator)
            knocked = deposits.particle(DELTA, _ELECTRON)
            _electron(deposits, position, away, energy, DELTA, knocked)
            kinetic -= energy
        position, direction, kinetic = _step(
            deposits, position, direction, kinetic, mass, particle
        )
    stopped = kinetic <= 0.01 and _inside(position, settings)
    if stopped and mass == argon.MUON_MASS:
        energy = argon.michel_energy(generator)
        away = argon.random_direction(generator)
        decay = deposits.particle(MICHEL, _ELECTRON)
        _electron(deposits, position, away, energy, MICHEL, decay)


def _electron(
    deposits: _Deposits,
    position: np.ndarray,
    direction: np.ndarray,
    kinetic: float,
    label: int,
    particle: int,
) -> None:
    """An electron: energy loss, scattering and radiation of photons."""
    settings, generator = deposits.settings, deposits.generator
    length = 0.5 * settings.pitch
    smallest = 1.0
    while kinetic > 0.05 and _inside(position, settings):
        position, direction, kinetic = _step(
            deposits, position, direction, kinetic, argon.ELECTRON_MASS, particle
        )
        if kinetic <= smallest:
            continue
        # Photons of energy k > 1 MeV, with a density proportional to 1 / k; 4/3 is the
        # limit of complete screening.
        number = 4 / 3 * math.log(kinetic / smallest) * length
        if generator.random() < number / argon.RADIATION_LENGTH:
            photon = smallest * (kinetic / smallest) ** generator.random()
            kinetic -= photon
            _photon(deposits, position, direction, photon, label, particle)


def _photon(
    deposits: _Deposits,
    position: np.ndarray,
    direction: np.ndarray,
    energy: float,
    label: int,
    particle: int,
) -> None:
    """A photon: pair production, or at low energy a scattered deposit."""
    generator = deposits.generator
    if energy < 8.0:
        position = position + direction * generator.exponential(argon.COMPTON_LENGTH)
        isolated = deposits.particle(LOW, _UNKNOWN)
        _electron(deposits, position, direction, energy, LOW, isolated)
        return
    position = position + direction * generator.exponential(argon.PAIR_LENGTH)
    share = generator.random()
    for part in (share * energy, (1 - share) * energy):
        angle = min(argon.ELECTRON_MASS / max(part, 0.1), 0.5)
        away = argon.deflect(direction, angle, generator)
        _electron(deposits, position, away, part, label, particle)


def _voxels(deposits: _Deposits) -> tuple[np.ndarray, ...]:
    """Sums deposits over voxels; the largest deposit determines the particle."""
    settings = deposits.settings
    rows = np.array(deposits.rows).reshape(-1, 5)
    index = np.floor(rows[:, :3] / settings.pitch).astype(np.int64)
    inside = ((index >= 0) & (index < settings.size)).all(axis=1)
    index, energy = index[inside], rows[inside, 3]
    particle = rows[inside, 4].astype(np.int64)
    flat = np.ravel_multi_index(tuple(index.T), (settings.size,) * 3)
    voxels, slot = np.unique(flat, return_inverse=True)
    total = np.bincount(slot, energy, minlength=len(voxels))
    pairs, where = np.unique(
        np.stack([slot, particle], axis=1), axis=0, return_inverse=True
    )
    share = np.bincount(where.reshape(-1), energy, minlength=len(pairs))
    # Ascending by energy within a voxel, so that the last write is the largest.
    order = np.lexsort((share, pairs[:, 0]))
    owner = np.zeros(len(voxels), np.int64)
    owner[pairs[order, 0]] = pairs[order, 1]
    positions = np.stack(np.unravel_index(voxels, (settings.size,) * 3), axis=1)
    keep = total > settings.threshold
    if settings.max_points is not None and keep.sum() > settings.max_points:
        order = np.argsort(np.where(keep, -total, np.inf), kind="stable")
        keep = np.zeros_like(keep)
        keep[order[: settings.max_points]] = True
    return positions[keep], total[keep], owner[keep]


def generate_event(seed: int, settings: EventSettings | None = None) -> PointCloud:
    """Generates one event: tracks and showers from a common vertex.

    Points are ordered by cluster, as in PILArNet-M (Young, Jwa, Terao,
    arXiv:2502.02558, App. A). Cluster 0 contains the scattered low-energy deposits and
    may be empty; each further cluster contains one particle.

    Args:
      seed: Seed that determines the event.
      settings: Settings; by default a detector of the size of PILArNet-M.

    Returns:
      The event without padding. Positions are integers from 0 to ``size - 1``.

    Raises:
      ArgumentError: ``seed`` is negative, or no event has a point above the threshold.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> event = generate_event(1, SMALL)
      >>> event.num_points > 50, float(event.energies.min()) > 0.13
      (True, True)
    """
    if seed < 0:
        raise ArgumentError("seed", seed, "is negative", "Pass 0 or more")
    settings = EventSettings() if settings is None else settings
    for attempt in range(100):
        generator = np.random.default_rng((seed, attempt))
        deposits = _draw(generator, settings)
        if not deposits.rows:
            continue
        positions, energies, owner = _voxels(deposits)
        if len(energies):
            break
    else:
        raise ArgumentError(
            "settings", settings, "no event has a point", "Lower the threshold"
        )
    semantic = np.array(deposits.labels)[owner]
    particle = np.array(deposits.kinds)[owner]
    # All isolated deposits form cluster 0, which may be empty.
    owner = np.where(semantic == LOW, -1, owner)
    cluster = np.searchsorted(np.unique(np.append(owner, -1)), owner)
    order = np.argsort(cluster, kind="stable")
    return make_cloud(
        *(a[order] for a in (positions, energies, semantic, cluster, particle))
    )


def _draw(generator: np.random.Generator, settings: EventSettings) -> _Deposits:
    deposits = _Deposits(generator, settings)
    edge = settings.size * settings.pitch
    vertex = generator.uniform(0.2 * edge, 0.8 * edge, 3)

    def energy(bounds: tuple[float, float]) -> float:
        low, high = np.log(np.maximum(bounds, 1e-3))
        return float(np.exp(generator.uniform(low, high)))

    tracks = int(generator.integers(settings.tracks[0], settings.tracks[1] + 1))
    showers = int(generator.integers(settings.showers[0], settings.showers[1] + 1))
    for _ in range(tracks):
        mass = _HEAVY[generator.integers(len(_HEAVY))]
        direction = argon.random_direction(generator)
        _track(deposits, vertex, direction, energy(settings.track_energy), mass)
    for _ in range(showers):
        direction = argon.random_direction(generator)
        kinetic = energy(settings.shower_energy)
        charged = generator.random() < 0.5
        begin = _electron if charged else _photon
        particle = deposits.particle(SHOWER, _ELECTRON if charged else _PHOTON)
        begin(deposits, vertex, direction, kinetic, SHOWER, particle)
    return deposits


def generate_events(
    num: int, seed: int = 0, settings: EventSettings | None = None
) -> list[PointCloud]:
    """Generates several events.

    Args:
      num: Number of events.
      seed: Seed of the first event; the next ones have the following seeds.
      settings: Settings, as in :func:`generate_event`.

    Returns:
      The events, without padding.

    Raises:
      ArgumentError: ``num`` or ``seed`` is negative.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_events
      >>> [event.num_points > 0 for event in generate_events(2, settings=SMALL)]
      [True, True]
    """
    if num < 0:
        raise ArgumentError("num", num, "is negative", "Pass 0 or more")
    return [generate_event(seed + index, settings) for index in range(num)]
