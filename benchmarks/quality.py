"""How good samples are: four sets of points or the digits at an equal budget, and what the shipped models draw when told a label.

    python benchmarks/quality.py [--seeds N] [--all]
    python benchmarks/quality.py --digits
    python benchmarks/quality.py --guidance [--seeds N]

Points: each model has the same network, data, steps and batch. The number is the sliced Wasserstein distance of 2000 samples
to ten sets of 2000 true points, over the same distance between true sets: 1 is as good as true. The row of true points shows
how far such numbers scatter. With diffusers installed, --all adds a row with its DDPMScheduler in a loop by hand.

Digits: a UNet trained for a fixed time. The Fréchet distance of its samples to the test part, in the hidden layer of a
classifier, over that of the training part to the test part; beside it, what a Gaussian fitted to the pixels gets.

Guidance: for the ring, the same distance as for the points, but the true sets are drawn by the same sampler from the exact
answers, joined in the same way. For the digits, how often a classifier that has seen neither them nor what the model was
trained with finds the label again, and how much pictures of one label vary.
"""

import argparse
import copy
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from loops import diffusers_loss, diffusers_sample, diffusers_scheduler, optional, train
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from torch import Tensor, nn

import tinyddpm as td
from tinyddpm.metrics import frechet_distance, nearest, ring_modes, sliced_wasserstein

# The points.
SETS = {
    "eight Gaussians": td.data.eight_gaussians,
    "two moons": td.data.two_moons,
    "swiss roll": td.data.swiss_roll,
    "checkerboard": td.data.checkerboard,
}
TRAINING_POINTS, STEPS, BATCH = 50_000, 3000, 256
POINTS, REFERENCES = 2000, 10

# The digits.
DIGITS_SECONDS = 120  # of training
DIGITS_SCHEDULE = td.Schedule.cosine(200)
DIGITS_MODEL: dict[str, Any] = {"predict": "eps", "variance": "beta_tilde", "clip": (-1, 1)}
DIGITS_TRAINING: dict[str, Any] = {"batch_size": 128, "lr": 4e-3, "ema": 0.999, "seed": 0}
DIGITS_DRAWS = 3  # sets of samples, from as many seeds
TRIAL_STEPS = 40  # to measure the speed

# Guidance.
RING_GUIDANCE, DIGITS_GUIDANCE = (1.0, 2.0, 4.0), (0.0, 1.0, 2.0, 4.0)
TOLD_PICTURES = 400  # in a set, as many of each digit

Source = Callable[[int, torch.Generator], Tensor]  # of points
Method = Callable[[Source, int], Tensor]  # samples, from a set of points and a seed


def seeded(seed: int) -> torch.Generator:
    """A generator with this seed."""
    return torch.Generator().manual_seed(seed)


# ---- points ----


def true_points(source: Source, seed: int) -> Tensor:
    """No model: new draws of the true points."""
    return source(POINTS, seeded(3000 + seed))


def with_tinyddpm(schedule: td.Schedule, predict: td.ddpm.Predict, ema: float = 0.999) -> Method:
    """The samples of a DDPM that `td.fit` has trained."""

    def samples(source: Source, seed: int) -> Tensor:
        torch.manual_seed(seed)  # of the first weights
        ddpm = td.DDPM(td.MLP(), schedule, predict=predict, variance="beta_tilde")
        x0 = source(TRAINING_POINTS, seeded(1000 + seed))
        td.fit(ddpm, x0, STEPS, BATCH, ema=ema, seed=seed, device="cpu", progress=False)
        return ddpm.sample((POINTS, 2), generator=seeded(2000 + seed))

    return samples


def with_diffusers(source: Source, seed: int) -> Tensor:
    """The same network, budget, rate and average, with the noise added and taken away by diffusers."""
    torch.manual_seed(seed)
    net, scheduler = td.MLP(), diffusers_scheduler(200, "fixed_small")
    x0 = source(TRAINING_POINTS, seeded(1000 + seed))
    train(net, x0, STEPS, BATCH, lambda x: diffusers_loss(scheduler, net, x))
    return diffusers_sample(scheduler, net, torch.randn(POINTS, 2))


def methods(everything: bool) -> dict[str, Method]:
    """The rows of the table."""
    rows: dict[str, Method] = {
        "true points": true_points,
        "v, cosine(200)": with_tinyddpm(td.Schedule.cosine(200), "v"),
        "v, lognormal(200)": with_tinyddpm(td.Schedule.lognormal(200), "v"),
    }
    if everything:
        rows["v, cosine(200), no average"] = with_tinyddpm(td.Schedule.cosine(200), "v", ema=0)
        rows["v, lognormal(200), no average"] = with_tinyddpm(td.Schedule.lognormal(200), "v", ema=0)
        rows["eps, cosine(200)"] = with_tinyddpm(td.Schedule.cosine(200), "eps")
        rows["v, linear(1000)"] = with_tinyddpm(td.Schedule.linear(1000), "v")
        rows["eps, linear(1000)"] = with_tinyddpm(td.Schedule.linear(1000), "eps")
        if optional("diffusers"):
            rows["diffusers, eps, cosine(200)"] = with_diffusers
    return rows


class Truth:
    """True sets of points, and how far they are from one another."""

    def __init__(self, source: Source) -> None:
        self.sets = [source(POINTS, seeded(4000 + i)) for i in range(REFERENCES)]
        self.baseline = statistics.mean(sliced_wasserstein(*pair) for pair in itertools.combinations(self.sets, 2))

    def ratio(self, samples: Tensor) -> float:
        """How far samples are from the true sets, over how far these are from one another."""
        return statistics.mean(sliced_wasserstein(samples, true) for true in self.sets) / self.baseline


def run_points(seeds: int, everything: bool) -> None:
    """Prints the tables for the sets of points."""
    truth = {name: Truth(source) for name, source in SETS.items()}
    print("Distance to true points over the baseline: mean over the seeds; geometric mean over the sets, least and greatest.\n")
    print(f"{'':30}" + "".join(f"{name:>17}" for name in SETS) + f"{'geometric mean':>24}")
    ring: dict[str, list[Tensor]] = {}
    for name, method in methods(everything).items():
        results = [{which: method(source, seed) for which, source in SETS.items()} for seed in range(seeds)]
        print(f"{name:30}" + points_row([{which: truth[which].ratio(x) for which, x in result.items()} for result in results]))
        ring[name] = [result["eight Gaussians"] for result in results]
    print("\nEight Gaussians: modes covered, and the share of points within 3 standard deviations of one, seed by seed.\n")
    for name, draws in ring.items():
        modes = [ring_modes(x) for x in draws]
        print(f"{name:30}" + "".join(f"{m.covered:5} {1 - m.off:.3f}" for m in modes))


def points_row(ratios: Sequence[dict[str, float]]) -> str:
    """A line of the table, from each seed's ratios."""
    means = "".join(f"{statistics.mean(r[name] for r in ratios):17.2f}" for name in SETS)
    overall = [statistics.geometric_mean(r.values()) for r in ratios]
    return f"{means}{statistics.mean(overall):10.2f} ({min(overall):.2f}-{max(overall):.2f})"


# ---- digits ----


@dataclass(frozen=True)
class Score:
    """What a set of pictures gets.

    Attributes:
        frechet: the Fréchet distance to the test part, over that of the training part.
        classes: how many of the ten have at least a tenth of their fair share.
        copies: the share of pictures nearer to a training picture than 98 % of the test part are.
    """

    frechet: float
    classes: int
    copies: float


class Judge:
    """A classifier of digits, and what it says about pictures."""

    def __init__(self) -> None:
        self.train, self.test = td.data.digits("train"), td.data.digits("test")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is still learning after its 200 rounds, but good enough to judge
            self.network = MLPClassifier(64, random_state=0)
            self.network.fit(self.train.flatten(1).numpy(), td.data.digit_labels("train").numpy())
        self.baseline = frechet_distance(self.features(self.train), self.features(self.test))
        self.near = nearest(self.test, self.train)[0].quantile(0.02)

    def features(self, pictures: Tensor) -> Tensor:
        """The hidden layer: (n, 64)."""
        weight, bias = torch.tensor(self.network.coefs_[0]), torch.tensor(self.network.intercepts_[0])
        return (pictures.flatten(1).to(weight) @ weight + bias).relu()

    def score(self, pictures: Tensor) -> Score:
        """What these pictures get."""
        frechet = frechet_distance(self.features(pictures), self.features(self.test)) / self.baseline
        counts = torch.bincount(torch.from_numpy(self.network.predict(pictures.flatten(1).numpy())), minlength=10)
        copies = (nearest(pictures, self.train)[0] < self.near).double().mean()
        return Score(frechet, int((counts >= len(pictures) / 100).sum()), float(copies))


def train_digits(x0: Tensor) -> td.DDPM:
    """A UNet, trained for about DIGITS_SECONDS: first a trial on a copy tells how many steps that is."""
    torch.manual_seed(0)
    ddpm = td.DDPM(td.UNet(1, 32), DIGITS_SCHEDULE, **DIGITS_MODEL)
    trial = copy.deepcopy(ddpm)
    td.fit(trial, x0, TRIAL_STEPS // 4, device="cpu", progress=False, **DIGITS_TRAINING)  # warms up
    start = time.perf_counter()
    td.fit(trial, x0, TRIAL_STEPS, device="cpu", progress=False, **DIGITS_TRAINING)
    steps = math.ceil(DIGITS_SECONDS * TRIAL_STEPS / (time.perf_counter() - start))
    start = time.perf_counter()
    td.fit(ddpm, x0, steps, device="cpu", progress=False, **DIGITS_TRAINING)
    print(f"{steps} steps in {time.perf_counter() - start:.0f} s, {torch.get_num_threads()} thread(s)\n")
    return ddpm


def gaussian_pictures(x0: Tensor, seed: int) -> Tensor:
    """As many draws from the Gaussian with the mean and the covariance of the pixels."""
    centred = x0 - x0.mean(0)
    mix = torch.randn(len(x0), len(x0), generator=seeded(seed)) / math.sqrt(len(x0) - 1)
    return x0.mean(0) + torch.einsum("ij,j...->i...", mix, centred)


def run_digits() -> None:
    """Prints the table for the digits."""
    judge = Judge()
    ddpm = train_digits(judge.train)
    rows: dict[str, Callable[[int], Tensor]] = {
        "tinyddpm": lambda seed: ddpm.sample(judge.train.shape, generator=seeded(seed)),
        "training part, redrawn": lambda seed: judge.train[
            torch.randint(len(judge.train), (len(judge.train),), generator=seeded(seed))
        ],
        "Gaussian of the pixels": lambda seed: gaussian_pictures(judge.train, seed),
    }
    print(f"{len(judge.train)} pictures a set, {DIGITS_DRAWS} sets: mean, least and greatest. The test part has 2 % near copies.\n")
    print("The training part, redrawn with replacement, is what a model gets that has learned exactly the right law.\n")
    print(f"{'':25}{'Fréchet over base':>26}{'sets joined':>14}{'classes':>16}{'near copies %':>24}")
    for name, draw in rows.items():
        sets = [draw(seed) for seed in range(DIGITS_DRAWS)]
        scores, joined = [judge.score(pictures) for pictures in sets], judge.score(torch.cat(sets)).frechet
        frechet, copies = spread([s.frechet for s in scores], 2), spread([100 * s.copies for s in scores], 1)
        print(f"{name:25}{frechet:>26}{joined:14.2f}{spread([s.classes for s in scores], 0):>16}{copies:>24}")


# ---- guidance ----


class ExactAnswer(nn.Module):
    """The best prediction of the ring's noise, as a network: for each row of what it is told, a label or the null."""

    def __init__(self, schedule: td.Schedule) -> None:
        super().__init__()
        ring = td.exact.eight_gaussians()
        self.condition = td.Labels(len(ring.means))
        self.best = [law.eps(schedule) for law in (*map(ring.given, range(len(ring.means))), ring)]

    def forward(self, xt: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The answer for x_t (batch, 2) at t (batch,), told c (batch,)."""
        answer = torch.empty_like(xt)
        for k, model in enumerate(self.best):
            answer[c == k] = model(xt[c == k], t[c == k])
        return answer


def run_ring(seeds: int) -> None:
    """Prints how far the ring's guided points are from those of the exact sampler."""
    ddpm, labels = td.load_pretrained("eight_gaussians"), torch.arange(POINTS) % 8
    print("The ring, told a label, as often each: distance to the exact sampler's points over the baseline.\n")
    print(f"{'guidance':>8}{'learned':>20}{'exact, redrawn':>20}")
    for guidance in RING_GUIDANCE:
        exact = td.DDPM(ExactAnswer(ddpm.schedule), ddpm.schedule, variance=ddpm.variance).given(labels, guidance)
        truth = Truth(lambda n, generator, exact=exact: exact.sample((n, 2), generator=generator))  # type: ignore[misc]
        columns = [
            spread([truth.ratio(model.sample((POINTS, 2), generator=seeded(2000 + seed))) for seed in range(seeds)], 2)
            for model in (ddpm.given(labels, guidance), exact)
        ]
        print(f"{guidance:8.0f}" + "".join(f"{column:>20}" for column in columns))


def variety(pictures: Tensor, labels: Tensor) -> float:
    """The variance among pictures of one label, added up over the pixels, on average over the labels."""
    return statistics.mean(float(pictures[labels == k].var(0).sum()) for k in range(10))


def run_told_digits(seeds: int) -> None:
    """Prints how well the digits are what the model was told, and how much they vary."""
    ddpm, labels = td.load_pretrained("digits"), torch.arange(TOLD_PICTURES) % 10
    train, test = td.data.digits("train"), td.data.digits("test")
    classifier = SVC(gamma=0.064).fit(test.flatten(1).numpy(), td.data.digit_labels("test").numpy())

    def agrees(pictures: Tensor, labels: Tensor) -> float:
        return 100 * float((classifier.predict(pictures.flatten(1).numpy()) == labels.numpy()).mean())

    real = td.data.digit_labels("train")
    print(f"\nThe digits, told a label, as often each, {TOLD_PICTURES} pictures a set, in 50 steps with fresh noise.\n")
    print(f"{'guidance':>15}{'label found again %':>24}{'variety':>20}")
    print(f"{'real pictures':>15}{agrees(train, real):24.1f}{variety(train, real):20.1f}")
    for guidance in DIGITS_GUIDANCE:
        told = ddpm.given(labels, guidance)
        sets = [told.sample_ddim((TOLD_PICTURES, *train.shape[1:]), 50, 1.0, generator=seeded(seed)) for seed in range(seeds)]
        found, varied = [agrees(x, labels) for x in sets], [variety(x, labels) for x in sets]
        print(f"{guidance:15.0f}{spread(found, 1):>24}{spread(varied, 1):>20}")


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, least and greatest."""
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each model on each set of points, or sets of samples")
    parser.add_argument("--all", action="store_true", help="other configurations besides")
    parser.add_argument("--digits", action="store_true", help="the digits in place of the points")
    parser.add_argument("--guidance", action="store_true", help="the shipped models that can be told a label")
    options = parser.parse_args()
    if options.guidance:
        run_ring(options.seeds)
        run_told_digits(options.seeds)
    elif options.digits:
        run_digits()
    else:
        run_points(options.seeds, options.all)


if __name__ == "__main__":
    main()
