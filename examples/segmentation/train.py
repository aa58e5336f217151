"""Train the segmenter on a CPU, on scenes that are made while it trains.

    python train.py --minutes 15 --weights weights/segmenter.safetensors

Run it in this folder. The learning rate falls to zero over the minutes given, the first part of which goes to scenes of
half the size, where a step costs an eighth per scene. One thread makes scenes while another computes. `--resume` goes
on from the checkpoint of a run that was stopped.
"""

from __future__ import annotations

import argparse
import datetime
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from collages import collage
from evaluate import SIZE, measure, tensor
from metric import MeanIoU
from network import segmenter
from photographs import TRAINING, paths
from safetensors.torch import save_file
from scenes import Bytes, Size, read, scene
from torch import Tensor, nn

WARMUP = 50  # steps
LONGEST_STEP = 10.0  # seconds; what a step took beyond that was a pause of the process
COLLAGES = 240
POOL = 320  # scenes
REPORT = 100  # steps between two reports, each with a checkpoint


@dataclass(frozen=True)
class Phase:
    """Scenes of one size, so many per step, until this share of the minutes is over."""

    size: Size
    batch: int
    until: float


PHASES = (Phase((SIZE[0] // 2, SIZE[1] // 2), 16, 0.45), Phase(SIZE, 8, 1.0))


class Supply:
    """Random batches from a pool of scenes that is renewed bit by bit: to make a scene costs as much as to learn it."""

    def __init__(self, photographs: list[Bytes], seed: int, phase: Phase, start: int) -> None:
        self.photographs, self.seed, self.phase, self.number = photographs, seed, phase, start
        self.fresh = phase.batch // 2
        self.pool = [self.scene(start * self.fresh + number) for number in range(POOL)]
        self.executor = ThreadPoolExecutor(1)
        self.next = self.executor.submit(self.make, start)

    def scene(self, number: int) -> tuple[Bytes, Bytes]:
        return scene(self.photographs, self.seed, number, self.phase.size)

    def make(self, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, 3, H, W], labels int64 [B, H, W] of one step; half as many scenes are new."""
        for number in range(step * self.fresh, (step + 1) * self.fresh):
            self.pool[number % POOL] = self.scene(number + POOL)
        rng = np.random.default_rng((self.seed, 1, step))
        images, labels = [], []
        for choice in rng.choice(POOL, self.phase.batch, replace=False):
            flip = (slice(None, None, int(rng.choice([-1, 1]))), slice(None, None, int(rng.choice([-1, 1]))))
            image, label = self.pool[choice]
            images.append(np.ascontiguousarray(image[flip][:, :, rng.permutation(3)]))
            labels.append(label[flip])
        return tensor(images), torch.from_numpy(np.stack(labels)).long()

    def batch(self) -> tuple[Tensor, Tensor]:
        """The batch of the next step; the one after it is begun in another thread."""
        made = self.next.result()
        self.number += 1
        self.next = self.executor.submit(self.make, self.number)
        return made


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, plus one minus the mean soft Dice of the classes: [B, C, H, W], [B, H, W] -> scalar.

    Most pixels are background; Dice counts every class alike, as the mean IoU does.
    """
    logs = logits.log_softmax(1)
    right = logs.gather(1, labels[:, None])
    classes = logits.shape[1]
    shared = torch.zeros(classes).index_add(0, labels.flatten(), right.exp().flatten())
    whole = logs.exp().sum((0, 2, 3)) + torch.bincount(labels.flatten(), minlength=classes)
    dice = (2 * shared + 1) / (whole + 1)
    return 1 - dice.mean() - right.mean()


class Run:
    """One training run: the network, its optimizer, its scenes and how far it has come."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = segmenter().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.rate, weight_decay=1e-2)
        self.step, self.active = 0, 0.0  # active: seconds at work
        if options.resume:
            state = torch.load(options.checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.active = state["step"], state["active"]
        files = [read(path) for path in paths(TRAINING).values()]
        made = [collage(files, options.seed, number) for number in range(COLLAGES)]
        self.photographs = 5 * files + made  # one background in six is a photograph as it is
        self.supply = Supply(self.photographs, options.seed, self.phase, self.step)

    @property
    def progress(self) -> float:
        return min(self.active / 60 / float(self.options.minutes), 1.0)

    @property
    def phase(self) -> Phase:
        return next(phase for phase in PHASES if self.progress <= phase.until)

    def learn(self) -> float:
        """One step; returns the loss."""
        rate = self.options.rate * min(1, (self.step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * self.progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.supply.phase != self.phase:
            self.supply = Supply(self.photographs, self.options.seed, self.phase, self.step)
        images, labels = self.supply.batch()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(images)
        loss = segmentation_loss(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        return loss.item()

    def train(self) -> None:
        """Step until the minutes are over, then write the weights."""
        self.model.train()
        losses: list[float] = []
        while self.active < self.options.minutes * 60:
            began = time.monotonic()
            losses.append(self.learn())
            self.step += 1
            self.active += min(time.monotonic() - began, LONGEST_STEP)
            if self.step % REPORT == 0:
                self.report(sum(losses) / len(losses))
                self.save()
                losses.clear()
        self.report(sum(losses) / max(len(losses), 1))
        self.write()

    def report(self, loss: float) -> None:
        """Print the loss and the mean IoU on new scenes over the photographs that are trained on."""
        self.model.eval()
        total, _ = measure(self.model, MeanIoU(18, self.options.seed + 1), paths(TRAINING), self.phase.size)
        self.model.train()
        minutes = f"{self.active / 60:.1f} min"
        print(f"step {self.step} {minutes} loss {loss:.4f} mean IoU {total['mean_iou']:.3f}", flush=True)

    def save(self) -> None:
        """Write the checkpoint; a reader never sees half a file."""
        partial = self.options.checkpoint.with_suffix(".partial")
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**state, "step": self.step, "active": self.active}, partial)
        partial.replace(self.options.checkpoint)

    def write(self) -> None:
        """Write the weights, row-major as every runtime expects them."""
        layout = torch.contiguous_format  # training keeps channels last
        tensors = {name: t.contiguous(memory_format=layout).clone() for name, t in self.model.state_dict().items()}
        metadata = {
            "format": "pt",
            "model": "segmenter",
            "steps": str(self.step),
            "seed": str(self.options.seed),
            "minutes": f"{self.active / 60:.1f}",
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "license": "MIT",
        }
        self.options.weights.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, self.options.weights, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the segmenter on the CPU.")
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors file to write at the end")
    parser.add_argument("--minutes", type=float, default=15, help="end after this long, pauses not counted")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"), help="written now and then")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="to compute with; one more makes the scenes")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    Run(options).train()


if __name__ == "__main__":
    main()
