"""Train SuperPoint on a CPU, from nothing but drawings, textures and the photographs of scikit-image.

    python -m examples.superpoint.train --minutes 80 --checkpoint checkpoint.pt

A second run may start from the first one's weights (`--start-from`), with another seed so that it sees other scenes.

Every step shows the network two views of eight scenes. The detector learns corners that are known by
construction, or that a classical measure finds alike in both views; the descriptor learns which points
correspond. The learning rate falls with whichever comes first: the number of steps, the minutes spent, or the
hour given by `--until`. A process that is stopped and continued loses nothing but time.
"""

from __future__ import annotations

import argparse
import datetime
import math
import signal
import time
from pathlib import Path
from types import FrameType

import cv2
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from examples.superpoint.extractors import classical, network
from examples.superpoint.losses import descriptor_loss, detector_loss
from examples.superpoint.metrics import Extractor, score_views, views
from examples.superpoint.model import SuperPoint, superpoint
from examples.superpoint.pairs import PairSource

WARMUP = 200  # steps
LONGEST_STEP = 10.0  # seconds; what a step took beyond that was a pause of the process
DESCRIPTOR_WEIGHT = 0.5  # the two heads only share the backbone, where this balances them
RECALIBRATION = 60  # batches whose statistics batch norm keeps at the end


def learning_rate(peak: float, step: int, progress: float) -> float:
    """Linear warm-up by step, cosine to (almost) zero by progress 0..1."""
    return peak * min(1.0, (step + 1) / WARMUP) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def seconds_until(clock: str) -> float:
    """Seconds from now to the next HH:MM, in UTC."""
    now = datetime.datetime.now(datetime.timezone.utc)
    hour, minute = (int(part) for part in clock.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= now:
        then += datetime.timedelta(days=1)
    return (then - now).total_seconds()


def recalibrate(model: SuperPoint, source: PairSource, start: int, pairs: int) -> None:
    """Replace batch norm's running averages by plain averages over fresh batches, the weights at rest."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    with torch.no_grad():
        for i in range(RECALIBRATION):
            model.raw(source.batch(start + i, pairs).images.contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class Run:
    """One training run: the network, its optimizer, its data and how far it has come."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.stopping = False
        model = superpoint("keypoints", max_keypoints=300)
        assert isinstance(model, SuperPoint)
        self.model: SuperPoint = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.rate, weight_decay=1e-2)
        self.step, self.progress, self.active = 0, 0.0, 0.0  # active: seconds at work
        if options.start_from:
            self.model.load_state_dict(load_file(options.start_from))
        if options.resume:
            state = torch.load(options.checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.progress, self.active = state["step"], state["progress"], state["active"]
        self.source = PairSource(options.seed, threads=options.threads)
        self.held_out = views((240, 320), "mixed rotation", seed=1)
        self.started, self.progress_at_start = time.monotonic(), self.progress
        self.wall = seconds_until(options.until) if options.until else math.inf

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: end after the present step."""
        self.stopping = True

    def advance(self) -> float:
        """Bring `progress` up to now."""
        waited = (time.monotonic() - self.started) / self.wall
        self.progress = max(
            self.step / self.options.steps,
            self.active / 60 / self.options.minutes,
            self.progress_at_start + (1 - self.progress_at_start) * waited,
        )
        return self.progress

    def learn(self) -> Tensor:
        """One step; returns [3]: detector loss, descriptor loss, share of descriptors matched right."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.options.rate, self.step, self.progress)
        batch = self.source.batch(self.step, self.options.pairs)
        with torch.autocast("cpu", torch.bfloat16):
            logits, descriptors = self.model.raw(batch.images.contiguous(memory_format=torch.channels_last))
        detection = detector_loss(logits, batch.classes)
        description, matched = descriptor_loss(descriptors, batch.points, batch.weights)
        self.optimizer.zero_grad(set_to_none=True)
        (detection + DESCRIPTOR_WEIGHT * description).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return torch.stack([detection.detach(), description.detach(), matched])

    def train(self) -> None:
        """Step until the end, then settle batch norm and save."""
        self.model.train()
        sums = torch.zeros(3)
        while self.step < self.options.steps and not self.stopping and self.advance() < 1:
            began = time.monotonic()
            sums += self.learn()
            self.step += 1
            self.active += min(time.monotonic() - began, LONGEST_STEP)
            if self.step % 50 == 0:
                detector, descriptor, matched = (sums / 50).tolist()
                sums.zero_()
                print(
                    f"step {self.step} progress {self.progress:.3f} active {self.active / 60:.1f} min "
                    f"detector {detector:.4f} descriptor {descriptor:.4f} matched {matched:.3f}",
                    flush=True,
                )
            if self.step % self.options.every == 0:
                self.save()
                self.report()
        if not self.stopping:
            recalibrate(self.model, self.source, self.step, self.options.pairs)
            self.report()
        self.save()
        ending = "stopped" if self.stopping else "finished"
        print(f"{ending} at step {self.step} after {self.active / 60:.1f} min", flush=True)

    def report(self) -> None:
        """Print the network's figures on the held-out pairs."""
        self.model.eval()
        self.tell(f"step {self.step} held out", network(self.model, half=True))
        self.model.train()

    def tell(self, name: str, extractor: Extractor) -> None:
        scores = score_views(extractor, self.held_out)
        repeated, right = scores["repeatability_3px"], scores["homography_3px"]
        print(f"{name}: repeatability {repeated:.3f} homography {right:.3f}", flush=True)

    def save(self) -> None:
        """Write the checkpoint; a reader never sees half a file."""
        partial = self.options.checkpoint.with_suffix(".partial")
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "progress": self.progress,
            "active": self.active,
            "seed": self.options.seed,
        }
        torch.save(state, partial)
        partial.replace(self.options.checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train SuperPoint on the CPU.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="file to write, and to read with --resume")
    parser.add_argument("--start-from", type=Path, help="begin with these .safetensors weights, not random ones")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--steps", type=int, default=20000, help="end after this many steps at the latest")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after this long, pauses not counted")
    parser.add_argument("--until", help="end at this hour (HH:MM, UTC) at the latest")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of views per step")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=300, help="steps between two evaluations and checkpoints")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # the source runs several threads of its own

    run = Run(options)
    signal.signal(signal.SIGTERM, run.stop)
    signal.signal(signal.SIGINT, run.stop)
    for name in ("orb", "sift"):
        run.tell(name, classical(name, 300))
    run.train()


if __name__ == "__main__":
    main()
