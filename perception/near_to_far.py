# SPDX-License-Identifier: Apache-2.0
"""
Near to far: the last layer learns from what is near, and labels every window to the horizon.

Two sets of weights learn. The near ones take the teacher's labels of every frame; the far ones
those given in hindsight to windows seen far away. The default weights stand beside them,
and serve at every range where neither has proved better.

Source
    RSS07, IROS08-DBN; algorithms.md A5.1, A6. Differs: two sets of weights, and the judge.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception.contrast import gather, gather_some
from perception.hindsight import Hindsight, Memory, levelled_pose
from perception.inference import NetworkSpec, checked, linear_maps, softmax
from perception.judge import CANDIDATES, FAR, NEAR, RANGES_M, Judge, range_index
from perception.learning_config import NearToFarConfig
from perception.lesson import (
    FAMILY_CLASSES,
    Lesson,
    Samples,
    Sight,
    counted,
    counted_wrong,
    family_targets,
    some,
)
from perception.online_softmax import FAMILIES, Head, family, with_bias
from perception.places import Places, bumped_places, driven_places, seen_places
from perception.types import CLASSES, FOOTLINE, Float

NEAR_M = np.nextafter(RANGES_M[1], 0)  # of what the teacher labels, whatever its centre's depth
MAX_NEW = 150  # new samples of a family, of the frame and of an old view
REHEARSED, REHEARSAL = 0.9, 20  # W0's answers kept for a family nobody teaches: how sure, how many
LARGEST = 6e4  # features that float16 holds, as kept views and saved states need
SEED = 8


@dataclass
class NearToFar:
    """
    The classifier that learns; its state is the two heads, the judge and the memory.

    ``default`` (5, F + 1): W0 with the bias last; ``obstacle_m``: the supervisor's; ``seed`` of
    the samples that are drawn.
    """

    config: NearToFarConfig
    spec: NetworkSpec
    obstacle_m: float = 0.25
    seed: int = SEED
    default: Float = field(init=False)
    near: Head = field(init=False)
    far: Head = field(init=False)
    judge: Judge = field(init=False)
    memory: Memory = field(init=False)
    taught: list[bool] = field(init=False)
    rejected: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Begin with the default weights."""
        self.default = np.c_[self.spec.weight, self.spec.bias].astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all that was learned."""
        config = self.config
        self.near = Head.fresh(self.default, config.samples)
        self.far = Head.fresh(self.default, config.samples)
        self.judge = Judge.fresh(config.margin, config.min_events)
        self.memory = Memory(config.views, config.jump_m)
        self._rng = np.random.default_rng(self.seed)
        self._last_base: Float | None = None
        self._was_bumped = False
        self.rejected = 0
        self.taught = [False, False]

    def lose_track(self) -> None:
        """Forget views and places, as after a jump in time; what was learned from them stays."""
        self.memory.clear()
        self._last_base = None

    def reconfigured(self, config: NearToFarConfig) -> 'NearToFar':
        """Itself with other settings; ``samples`` takes effect at the next reset."""
        self.config = config
        self.judge.margin, self.judge.min_events = config.margin, config.min_events
        self.memory.capacity, self.memory.jump_m = config.views, config.jump_m
        return self

    @property
    def tables(self) -> list[Float]:
        """Weights (5, F + 1) of every candidate, in the order of ``judge.CANDIDATES``."""
        return [self.default, self.near.table, self.far.table]

    def learn(self, sight: Sight) -> Lesson:
        """Take in one frame: judge the candidates on its labels, then train on them."""
        if self.config.frozen:
            return self._lesson([], 0, [])
        near = [self._near(sight)] if self.config.teach_stereo and sight.labels else []
        far = self._look_back(sight)
        parts = [*near, *far]
        before = [self._wrong(part) for part in parts]
        for part, wrong in zip(parts, before, strict=True):
            fair = part.proof
            self.judge.hear(part.range_m[fair], part.standing[fair], wrong[:, fair])
        self._rehearse(parts, sight)
        for part in near:
            self._store(part, [self.near])
        for part in far:
            self._store(some(part, part.proof & (part.range_m < RANGES_M[1])), [self.near])
            if self.config.propagation:
                self._store(part, [self.far])
        if any(len(part.standing) for part in parts):
            self._train()
        return self._lesson(parts, len(near), before)

    def classify(self, sight: Sight) -> Float:
        """Class histogram of every window by the weights that serve at its range, (N, 5)."""
        return self.classified(sight, self.serving())

    def serving(self) -> NDArray[np.intp]:
        """Candidate that serves in each range, (R,)."""
        if self.config.do_no_harm:
            return self.judge.choice()
        trained = FAR if self.far.steps else NEAR
        return np.array([NEAR, *[trained] * (len(RANGES_M) - 1)])

    def classified(self, sight: Sight, choice: NDArray[np.intp]) -> Float:
        """Class histogram of every window, (N, 5) float32, by candidates for each range."""
        used = sorted({int(k) for k in choice})
        table = np.concatenate([self.tables[k] for k in used])
        logits = linear_maps(sight.maps, table[:, :-1])
        rows = checked(gather(logits, sight.pyramid, self.spec.receptive) + table[:, -1],
                       self.spec.name)
        if len(used) == 1:
            return softmax(rows)
        place = np.array([used.index(int(k)) for k in choice])
        mine = place[range_index(sight.range_m)]
        return softmax(rows.reshape(len(rows), len(used), -1)[np.arange(len(rows)), mine])

    def _near(self, sight: Sight) -> Samples:
        """The teacher's labels of this frame."""
        assert sight.labels is not None
        windows = sight.pyramid.windows
        index = self._thinned(np.flatnonzero(sight.labels.labeled & windows.valid),
                              sight.labels.label)
        x = gather_some(sight.maps, sight.pyramid, self.spec.receptive, index)
        label, near = sight.labels.label[index], np.minimum(sight.range_m[index], NEAR_M)
        return self._sound(Samples(with_bias(x), sight.labels.target[index], family(label),
                                   near, np.ones(len(near), bool)))

    def _look_back(self, sight: Sight) -> list[Samples]:
        """Note what is near, keep this view when it is due, and label one old view."""
        if sight.odom_from_camera is None or sight.odom_from_base is None:
            self.lose_track()
            return []
        pose = levelled_pose(sight.odom_from_camera, sight.plane.plane)
        jumps = self.memory.jumps
        self.memory.move(sight.odom_from_base[:2, 3])
        if self.memory.jumps > jumps:
            self._last_base = None
        if self.memory.view_due and sight.plane.fresh:
            self.memory.keep(sight.pyramid, sight.maps, sight.range_m, pose)
        self._note(sight, pose)
        view = self.memory.due()
        return [] if view is None else [self._recalled(self.memory.look_back(view))]

    def _note(self, sight: Sight, pose: Float) -> None:
        """Remember what stereo sees nearby, and what the robot drives over or bumps into."""
        config, base = self.config, sight.odom_from_base
        assert base is not None
        bumped = sight.bumped and config.teach_bumper and not self._was_bumped
        self._was_bumped = sight.bumped
        if not (self.memory.note_due or bumped):
            return
        parts = []
        if config.teach_stereo and sight.points and sight.grid and sight.plane.fresh:
            parts.append(seen_places(sight.points, sight.grid, pose, self.obstacle_m))
        if config.teach_driven and self._last_base is not None:
            parts.append(driven_places(self._last_base, base, config.robot_width_m))
        if bumped:
            parts.append(bumped_places(base, config.robot_width_m, config.robot_length_m / 2))
        if parts:
            self.memory.note(Places(self.memory.travelled_m,
                                    np.concatenate([xyz for xyz, _ in parts]),
                                    np.concatenate([kind for _, kind in parts])))
        self._last_base = base

    def _recalled(self, hindsight: Hindsight) -> Samples:
        """Labels given in hindsight as samples; only their family is known."""
        view, labels, config = hindsight.view, hindsight.labels, self.config
        index = self._thinned(hindsight.index, labels.label)
        x = gather_some(view.maps, view.pyramid, self.spec.receptive, index)
        standing, range_m = family(labels.label[index]), view.range_m[index]
        sure = np.where(labels.felt[index], np.where(standing == 1, config.bumper_confidence,
                                       config.driven_confidence), config.stereo_confidence)
        rows = with_bias(x)
        q = softmax(rows @ self.default.T)
        return self._sound(Samples(rows, family_targets(q, standing, sure), standing,
                                   range_m, labels.proof[index]))

    def _thinned(
        self, index: NDArray[np.intp], label: NDArray[np.uint8]
    ) -> NDArray[np.intp]:
        """At most ``MAX_NEW`` random ones of each family."""
        standing = family(label[index])
        parts = [self._rng.permutation(index[standing == k])[:MAX_NEW] for k in FAMILIES]
        return np.concatenate(parts)

    def _sound(self, samples: Samples) -> Samples:
        """Without samples whose features are not finite, or too large to be; these are counted."""
        sound = np.asarray((np.abs(samples.x) <= LARGEST).all(1))
        if sound.all():
            return samples
        self.rejected += int(np.count_nonzero(~sound))
        return some(samples, sound)

    def _wrong(self, part: Samples) -> Float:
        """1 where a candidate names the other family, (C, n)."""
        logits = np.concatenate(self.tables) @ part.x.T
        logits = logits.reshape(len(CANDIDATES), len(CLASSES), -1)
        says = logits[:, FOOTLINE:].max(1) > logits[:, :FOOTLINE].max(1)
        return np.asarray(says != part.standing, float)

    def _rehearse(self, parts: list[Samples], sight: Sight) -> None:
        """
        Let W0 stand in for a family that nobody has taught yet.

        Its own sure answers keep that family alive: labels of one kind alone would teach that
        everything is of that kind.
        """
        for k in FAMILIES:
            if not self.taught[k] and any((part.standing == k).any() for part in parts):
                self.taught[k] = True
                self.judge.forget(k)
                for head in (self.near, self.far):
                    head.rings[k].clear()
        if sum(self.taught) != 1:
            return
        missing = int(not self.taught[1])
        part = self._own_answers(sight, missing)
        self.judge.hear(part.range_m, part.standing, self._wrong(part))
        self._store(part, [self.near, self.far])

    def _own_answers(self, sight: Sight, standing: int) -> Samples:
        """Some windows of which W0 is sure that they are of a family."""
        valid = sight.pyramid.windows.valid
        index = self._rng.permutation(np.flatnonzero(valid))[:10 * REHEARSAL]
        x = gather_some(sight.maps, sight.pyramid, self.spec.receptive, index)
        rows = with_bias(x)
        q = softmax(rows @ self.default.T)
        pick = np.flatnonzero(q[:, FAMILY_CLASSES[standing]].sum(1) >= REHEARSED)[:REHEARSAL]
        return self._sound(Samples(rows[pick], q[pick], np.full(len(pick), standing),
                                   sight.range_m[index[pick]], np.ones(len(pick), bool)))

    def _store(self, part: Samples, heads: list[Head]) -> None:
        """Into the ring of each family."""
        for head in heads:
            for k in FAMILIES:
                mine = part.standing == k
                head.rings[k].add(part.x[mine], part.target[mine])

    def _train(self) -> None:
        """One pass for each head that has samples of both families."""
        config = self.config
        if self.near.ready:
            self.near.train(self.default, config.batch, config.rate, config.pull, self._rng)
        if self.far.ready:
            self.far.train(self.default, config.batch, config.far_rate, config.pull, self._rng)

    def _lesson(self, parts: list[Samples], near: int, before: list[Float]) -> Lesson:
        """Report of a frame whose first ``near`` parts are the teacher's own labels."""
        new, old = counted(parts[:near]), counted(parts[near:])
        choice = self.serving()
        return Lesson(
            _families(new), _families(old), new + old,
            counted_wrong(parts, before),
            counted_wrong(parts, [self._wrong(part) for part in parts]),
            tuple(CANDIDATES[k] for k in choice),
            tuple(self.judge.confidence(choice).tolist()),
        )


def _families(count: Float) -> tuple[int, int]:
    """Labels of ground and of obstacles at all ranges."""
    ground, obstacle = count.sum(0).astype(int).tolist()
    return ground, obstacle
