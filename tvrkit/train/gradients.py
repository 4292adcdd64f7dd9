"""From a batch to its loss and every parameter's gradient: in one go, or through the towers piece by piece.

The contrastive loss needs the features of the whole batch, the memory goes into the towers' activations. With
`train.micro_batch` the towers run twice: first without activations, to features; then, once the loss has given the
features their gradients, piece by piece with those gradients (GradCache, arXiv 2101.06983). The result is the same.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from tvrkit.config import Config
from tvrkit.core.features import TextFeatures, VideoFeatures, concatenate
from tvrkit.core.model import RetrievalModel
from tvrkit.data import Batch
from tvrkit.distributed import Team
from tvrkit.errors import TrainingError
from tvrkit.manifest import Record
from tvrkit.reporting import Reporter
from tvrkit.train.memory import OutOfMemory, all_or_none, doubt, give_back, is_out_of_memory
from tvrkit.train.objective import Loss, Objective
from tvrkit.train.parallel import Parallel
from tvrkit.train.sources import Source
from tvrkit.train.times import StepTimes


class Gradients:
    """Computes them; `micro_batch` is what the configuration says, or less once memory was not enough."""

    def __init__(
        self,
        model: RetrievalModel,
        objective: Objective,
        source: Source,
        records: Sequence[Record],
        config: Config,
        parallel: Parallel,
        team: Team,
        report: Reporter,
        times: StepTimes | None = None,
    ) -> None:
        self._model, self._objective, self._source, self._records = model, objective, source, records
        self._config, self._parallel, self._team, self._report = config, parallel, team, report
        self._times = times or StepTimes()
        self.micro_batch = config.train.micro_batch

    def __call__(self, batch: Batch, counts: Sequence[int], step: int) -> Loss:
        """Leave the gradients of a batch in the parameters, averaged over processes, and return its loss.

        Where memory is not enough, `micro_batch` is halved and the batch is done again.

        Args:
            batch: this process's part; where it has none, a stand-in that does not count.
            counts: pairs of each process that count.
            step: optimiser step; with the seed and the rank it decides all that is random in it.

        Raises:
            TrainingError: memory is not enough for one pair at a time.
        """
        while True:
            for parameter in self._parameters():
                parameter.grad = None
            try:
                return self._attempt(batch, counts, step)
            except OutOfMemory as error:
                words = str(error)  # no more of it: what the failed attempt held is freed when its traceback is
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                words = doubt(error)
                if self._team.size > 1:
                    raise self._not_enough("while processes exchanged gradients", step, words) from None
            give_back()
            self._halve(max(counts), step, words)

    def _attempt(self, batch: Batch, counts: Sequence[int], step: int) -> Loss:
        if self.micro_batch is None or self.micro_batch >= max(counts) or not self._towers_learn():
            return self._plainly(batch, counts, step)
        return self._in_pieces(batch, counts, step, self.micro_batch)

    def _plainly(self, batch: Batch, counts: Sequence[int], step: int) -> Loss:
        losses = []

        def forward() -> Tensor:
            with self._all_or_none():
                text, video = self._towers(batch, step, 0)
            losses.append(self._head(text, video, batch, counts, step))
            return losses[0].total

        total = self._parallel.last(forward)
        with self._times("backward"):
            total.backward()
        self._parallel.finish()
        return losses[0]

    def _in_pieces(self, batch: Batch, counts: Sequence[int], step: int, size: int) -> Loss:
        # Where a tower's pass is a collective, all processes make as many.
        pairs = max(counts) if self._parallel.even else len(batch)
        pieces = _pieces(batch, math.ceil(pairs / size))
        with self._all_or_none(), torch.no_grad():
            features = [self._towers(piece, step, number) for number, (piece, _) in enumerate(pieces)]
            text = concatenate([text[:used] for (text, _), (_, used) in zip(features, pieces, strict=True)])
            video = concatenate([video[:used] for (_, video), (_, used) in zip(features, pieces, strict=True)])
            del features
        leaves = [_leaf(tensor) for tensor in (text.text_features, text.word_features, video.frame_features)]
        text = replace(text, text_features=leaves[0], word_features=leaves[1])
        video = replace(video, frame_features=leaves[2])
        loss = self._head(text, video, batch, counts, step)
        with self._times("backward"):
            loss.total.backward()
        # Zeros where the loss does not look: parameters behind that stand where they would in one go with all features.
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]

        start = 0
        with self._all_or_none():
            for number, (piece, used) in enumerate(pieces[:-1]):
                outputs = self._outputs(piece, step, number)
                with self._times("backward"):
                    _backward(outputs, [gradient[start : start + used] for gradient in gradients])
                start += used
        outputs = self._parallel.last(lambda: self._outputs(pieces[-1][0], step, len(pieces) - 1))
        with self._times("backward"):
            _backward(outputs, [gradient[start:] for gradient in gradients])
        self._parallel.finish()
        return loss

    def _outputs(self, batch: Batch, step: int, piece: int) -> tuple[Tensor, ...]:
        text, video = self._towers(batch, step, piece)
        return text.text_features, text.word_features, video.frame_features

    def _towers(self, batch: Batch, step: int, piece: int) -> tuple[TextFeatures, VideoFeatures]:
        """Features of matched pairs, L2-normalised."""
        model, records = self._model, self._records
        captions = [records[pair.video].captions[pair.caption] for pair in batch.pairs]
        key_words = None
        if self._config.model.key_words:
            key_words = [(records[pair.video].key_words or ())[pair.caption] for pair in batch.pairs]
        tokens = model.tokenize(captions, key_words).to(model.device)
        torch.manual_seed(_stream(self._config.train.seed, step, self._team.rank, piece))
        # A context of its own for each pass: autocast's copies of weights made without gradients have none later.
        with self._times("towers"), self._autocast():
            text = model.encode_text(tokens)
            video = model.encode_video(*self._source.features(model, batch))
        return text, video

    def _head(self, text: TextFeatures, video: VideoFeatures, batch: Batch, counts: Sequence[int], step: int) -> Loss:
        ids = batch.video_ids.to(self._model.device)
        with self._times("head"), self._autocast():
            return self._objective(self._model, text, video, ids, step, self._team, list(counts))

    def _all_or_none(self) -> contextlib.AbstractContextManager[None]:
        # Where a tower's pass is a collective, a process that fails in it leaves the others waiting there.
        return contextlib.nullcontext() if self._parallel.even else all_or_none(self._team)

    def _autocast(self) -> torch.autocast:
        device = self._model.device
        return torch.autocast(device.type, torch.bfloat16, enabled=use_bf16(self._config.train.precision, device))

    def _towers_learn(self) -> bool:
        model = self._model
        learning = {id(p) for part in (model.backbone, model.temporal) if part is not None for p in _learning(part)}
        return bool(learning - {id(model.backbone.logit_scale)})

    def _parameters(self) -> list[Tensor]:
        return [*self._model.parameters(), *self._objective.parameters()]

    def _halve(self, pairs: int, step: int, words: str) -> None:
        at_a_time = min(self.micro_batch or pairs, pairs)
        if at_a_time == 1 or not self._towers_learn() or self._parallel.even:
            raise self._not_enough(f"with {at_a_time} pair{'s'[: at_a_time > 1]} at a time", step, words)
        self.micro_batch = math.ceil(at_a_time / 2)
        self._report.warn(
            f"Out of memory at step {step + 1} with {at_a_time} pairs at a time: from now on {self.micro_batch}, with"
            f" the same loss (--set train.micro_batch={self.micro_batch} begins with that)."
        )

    def _not_enough(self, when: str, step: int, words: str) -> TrainingError:
        when += f" (so it seems: {words})" if words else ""
        smaller = "a smaller train.micro_batch, " if self._towers_learn() else ""
        return TrainingError(
            f"out of memory at step {step + 1} {when}: go on with {smaller}train.gradient_checkpointing=true,"
            " fewer model.num_frames, or a smaller train.batch_size."
        )


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16; `auto` does on GPUs that compute in it, and on nothing else."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return precision == "bf16"


def _pieces(batch: Batch, number: int) -> list[tuple[Batch, int]]:
    """A batch in pieces of nearly equal size, and how many rows of each count: a piece of ballast has none."""
    cuts = [round(i * len(batch) / number) for i in range(number + 1)]
    pieces = []
    for start, stop in itertools.pairwise(cuts):
        rows = slice(start, max(stop, start + 1)) if start < len(batch) else slice(0, 1)
        piece = replace(batch, pairs=batch.pairs[rows], frames=batch.frames[rows], frame_mask=batch.frame_mask[rows])
        pieces.append((piece, stop - start))
    return pieces


def _learning(module: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in module.parameters() if parameter.requires_grad)


def _leaf(features: Tensor) -> Tensor:
    """The same values, where a backward pass ends."""
    return features.detach().requires_grad_()


def _backward(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Backward pass from those outputs that have one; ballast's gradients are zero."""
    pairs = [(output, gradient) for output, gradient in zip(outputs, gradients, strict=True) if output.requires_grad]
    if pairs:
        torch.autograd.backward([o for o, _ in pairs], [_padded(g, len(o)) for o, g in pairs])


def _padded(gradient: Tensor, length: int) -> Tensor:
    if len(gradient) == length:
        return gradient
    return torch.cat([gradient, gradient.new_zeros(length - len(gradient), *gradient.shape[1:])])


def _stream(seed: int, step: int, rank: int, piece: int) -> int:
    """A seed for each piece of each process's part of each step, the same in both passes and after a resume."""
    return int(np.random.SeedSequence([seed, step, rank, piece]).generate_state(1)[0])
