"""Draw the method with the numbers of a trained model: `python docs/pictures.py RUN DATA`.

RUN is a run of `tvrkit train` that was trained with the partial margins on, DATA the folder of its data set. Four PNG
files go to docs/pictures, and the numbers that docs/method.md quotes to stdout. Only training and validation clips are
looked at. Needs matplotlib: `pip install 'tvrkit[plot]'`.
"""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tvrkit.config import Config
from tvrkit.core import load_model
from tvrkit.core.cross_weights import select_tokens
from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.interaction import Interaction, nearest_frames
from tvrkit.core.model import RetrievalModel
from tvrkit.core.partial import PartialOrders, TripletPartial
from tvrkit.data import frame_request
from tvrkit.encode import encode_frames, encode_texts, encode_videos
from tvrkit.errors import ConfigError, InstallError, TvrkitError
from tvrkit.frames.reader import read_frames as read_video
from tvrkit.frames.reading import Reading
from tvrkit.losses import info_nce, neg_nce
from tvrkit.manifest import Manifest, Record, read_manifest
from tvrkit.train.run import read_run_config
from tvrkit.train.samplers import Plan
from tvrkit.train.state import last_checkpoint, load_training_state, under

OUT = Path(__file__).with_name("pictures")
# A light card of its own, so that a picture reads the same on a light page and on a dark one.
CARD, INK, PALE, BLUE, ORANGE = "#fcfcfa", "#1f2328", "#c9ced6", "#2a6fbb", "#c4571b"
MARK = "#e6007e"  # not among the colours of the heat maps
HERE = Reading(workers=0)
LARGEST, DPI, COLOURS = 60_000, 140, 256  # bytes of one picture


@dataclass(frozen=True)
class Trained:
    """What a run left: the model as it was when training ended, and the predictors that served training alone."""

    model: RetrievalModel
    partial: TripletPartial
    config: Config
    manifest: Manifest


@dataclass(frozen=True)
class Split:
    """Videos with one caption each, row i of both belonging together."""

    records: Sequence[Record]
    captions: Sequence[str]
    text: TextFeatures
    video: VideoFeatures


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--video", default="val-0000", help="the clip that is looked at closely")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    try:
        draw(options.run, options.data, options.video, options.out)
    except TvrkitError as error:
        raise SystemExit(f"Error: {error}") from None


@torch.no_grad()
def draw(run: Path, data: Path, video: str, out: Path) -> None:
    """Write the pictures of a run into `out`.

    Raises:
        InstallError: matplotlib is not there.
        ConfigError: the run had no partial margins or compares no single words, or `val` has no such video.
        CheckpointError, ManifestError: RUN or DATA is none.
    """
    pyplot = _pyplot()
    trained = load(run, data)
    records = [record for record in trained.manifest.records if record.split == "val"]
    row = next((i for i, record in enumerate(records) if record.video_id == video), None)
    if row is None:
        raise ConfigError(f"--video {video}: `val` of {trained.manifest.name} has no such video.")
    val = encode(trained, records, [record.captions[0] for record in records])
    out.mkdir(parents=True, exist_ok=True)
    frames = frames_of(trained, val.records[row])
    for name, figure in (
        ("attention", attention(pyplot, trained, val, row, frames)),
        ("weights", weights(pyplot, trained, val, row)),
        ("partial", partial(pyplot, trained, val, row, frames)),
        ("hard-negatives", hard_negatives(pyplot, trained)),
    ):
        save(figure, out / f"{name}.png")
        pyplot.close(figure)


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG of few colours: letters as curves and frames inside an SVG take three times the bytes."""
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=DPI, facecolor=CARD)
    image = Image.open(written).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        click.echo(f"{path.name} has {path.stat().st_size} bytes, more than {LARGEST}.", err=True)


def load(run: Path, data: Path) -> Trained:
    """Read a run's last checkpoint, with what only training has; errors as `draw`."""
    config = read_run_config(run)
    model = config.model
    if not config.loss.partial_weight or model.interaction == "dot_product" or model.text_side == "sentence":
        raise ConfigError(f"{run} was not trained with words and partial margins: --set loss.partial_weight=0.1.")
    folder = last_checkpoint(run)
    trained = load_model(folder)
    predictors = TripletPartial(
        trained.backbone.dim,
        model.num_frames,
        model.max_words,
        predictor=config.loss.partial_predictor,
        threshold=config.loss.partial_threshold,
    )
    tensors, _ = load_training_state(folder, "cpu")
    predictors.load_state_dict(under(under(tensors, "objective/"), "partial."))
    return Trained(trained, predictors, config, read_manifest(data / "manifest.jsonl"))


def encode(trained: Trained, records: Sequence[Record], captions: Sequence[str]) -> Split:
    """Features of videos and of one caption each."""
    model = trained.model
    requests = [frame_request(trained.manifest, record, trained.config.model.num_frames) for record in records]
    read = encode_frames(model, requests, reading=HERE)
    video = encode_videos(model, read.frame_features, read.frame_mask)
    return Split(records, captions, encode_texts(model, list(captions)), video)


def frames_of(trained: Trained, record: Record) -> list[np.ndarray]:
    """The frames that the model sees of a video, (H, W, 3) uint8."""
    request = frame_request(trained.manifest, record, trained.config.model.num_frames)
    return list(read_video(request).data)


def tokens(trained: Trained, caption: str) -> list[str]:
    """The real tokens of a caption, in words."""
    ids = trained.model.tokenize([caption])
    encoder = trained.model.backbone.tokenizer.encoder
    names = [encoder.decode([number]).strip() for number in ids.ids[0, : int(ids.word_mask[0].sum())].tolist()]
    return ["(start)", *names[1:-1], "(end)"]


def similarities(split: Split, row: int) -> tuple[Tensor, Tensor]:
    """C (W, F) of one pair, real words and frames only, and m (W,)."""
    text, video = split.text, split.video
    real = text.word_mask[row]
    frames = video.frame_features[row, video.frame_mask[row]]
    return text.word_features[row, real] @ frames.T, text.word_weights[row, real]


def bonuses(split: Split, row: int) -> tuple[Tensor, Tensor]:
    """Of one pair r (W,), and what visual attention adds to it, (W,)."""
    table, _ = similarities(split, row)
    real = split.video.frame_mask[row]
    gain, neighbour = nearest_frames(split.video.frame_features[row : row + 1], split.video.frame_mask[row : row + 1])
    best, at = table.max(dim=1)
    near = neighbour[0, real][at]
    return best, 0.5 * gain[0, real][at] * table[torch.arange(len(table)), near]


def attention(pyplot: Any, trained: Trained, val: Split, row: int, frames: list[np.ndarray]) -> Any:
    """Words against frames, under the frames themselves."""
    table, counts = similarities(val, row)
    names = tokens(trained, val.captions[row])
    words, width = table.shape
    figure = pyplot.figure(figsize=(8.6, 6.2))
    left, right, top, bottom = 0.13, 0.81, 0.845, 0.115
    cell = (right - left) / width
    for i, frame in enumerate(frames):
        _thumbnail(figure, (left + i * cell, top + 0.006, cell, cell * 8.6 / 6.2), frame)
    axes = figure.add_axes((left, bottom, right - left, top - bottom))
    axes.imshow(table.numpy(), aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set_yticks(range(words), [f"{name}  ×2" if m > 1 else name for name, m in zip(names, counts, strict=True)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    best, best_word = table.argmax(dim=1).tolist(), table.argmax(dim=0).tolist()
    for word, frame_ in enumerate(best):
        box = pyplot.Rectangle((frame_ - 0.46, word - 0.44), 0.92, 0.88, fill=False, edgecolor="white", linewidth=1.6)
        axes.add_patch(box)
        axes.text(width - 0.35, word, f"{table[word, frame_]:.2f}", va="center")
    axes.plot(range(len(best_word)), best_word, "o", color=MARK, markersize=5, markeredgecolor="white")
    for frame_, word in enumerate(best_word):
        axes.text(frame_, words - 0.2, f"{table[word, frame_]:.2f}", ha="center", va="center")
    axes.text(width - 0.35, -0.9, "r(t)", weight="bold", va="center")
    axes.text(-0.7, words - 0.2, "c(v)", weight="bold", ha="right", va="center")
    axes.set_ylim(words - 0.5, -0.5)
    key = figure.add_axes((0.9, bottom, 0.018, top - bottom))
    figure.colorbar(axes.images[0], cax=key, label="cosine C[t, v]").outline.set_visible(False)
    title = f"“{val.captions[row]}” and its clip"
    figure.text(left, 0.968, title, weight="bold", va="center")
    figure.text(left, 0.026, "white frame: a word's best frame, v*", color=INK, va="center")
    figure.text(0.5, 0.026, "●", color=MARK, va="center")
    figure.text(0.52, 0.026, "a frame's best word", va="center")
    _bare(axes)
    return figure


def weights(pyplot: Any, trained: Trained, val: Split, row: int) -> Any:
    """What visual attention adds to each word, and how much of the mean each word is."""
    best, bonus = bonuses(val, row)
    _, counts = similarities(val, row)
    names = tokens(trained, val.captions[row])
    rows = np.arange(len(names))
    figure, (first, second) = pyplot.subplots(1, 2, figsize=(8.6, 4.6), sharey=True, width_ratios=(3, 2))
    # Where r(t) is negative a bar would hide the sum: such words are drawn as they are, from 0.
    first.barh(rows, best, color=BLUE, label="r(t), best frame")
    first.barh(rows, bonus, left=best, color=ORANGE, label="½ g(v*) C[t, nb(v*)], nearest frame")
    first.set_yticks(rows, names)
    first.invert_yaxis()
    first.set_title("Visual attention: r⁺(t)", loc="left", weight="bold", fontsize=10)
    even, heavy = np.full(len(names), 1 / len(names)), (counts / counts.sum()).numpy()
    second.barh(rows, heavy, color=[BLUE if m > 1 else PALE for m in counts])
    second.plot(even, rows, "|", color=INK, markersize=9, label="1 / W, without key words")
    second.set_title("Textual attention: mₜ / Σ m", loc="left", weight="bold", fontsize=10)
    for axes in (first, second):
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.06), frameon=False)
        axes.tick_params(axis="y", length=0)
        _bare(axes)
    figure.subplots_adjust(left=0.1, right=0.97, top=0.92, bottom=0.21, wspace=0.12)
    tell_switches(trained, val, row)
    sums = torch.tensor([[part.sum().item() for part in bonuses(val, i)] for i in range(len(val.records))])
    shares = sums[:, 1] / sums[:, 0]
    click.echo(f"visual attention adds to the words of a pair {shares.mean():.3f} ± {shares.std():.3f} of their r")
    return figure


def tell_switches(trained: Trained, val: Split, row: int) -> None:
    """Print the scores of one caption with its clip and with the strongest other, each attention on and off."""
    own = trained.model.similarity(val.text[row : row + 1], val.video)[0].clone()
    own[row] = -torch.inf
    other = int(own.argmax())
    click.echo(f"caption: {val.captions[row]}")
    click.echo(f"strongest other clip: {val.records[other].video_id}, {val.captions[other]}")
    click.echo("| key words | nearest frame | its clip | strongest other | difference | R@1 of all |")
    click.echo("|---|---|---|---|---|---|")
    for key_words in (False, True):
        for nearest_frame in (False, True):
            scores = scored(trained, val, key_words=key_words, nearest_frame=nearest_frame)
            first = (scores > scores.diagonal()[:, None]).sum(dim=1) == 0
            pair = [scores[row, row].item(), scores[row, other].item()]
            marks = " | ".join("on" if on else "off" for on in (key_words, nearest_frame))
            recall = 100 * first.float().mean().item()
            click.echo(f"| {marks} | {pair[0]:.3f} | {pair[1]:.3f} | {pair[0] - pair[1]:.3f} | {recall:.1f} |")


def scored(trained: Trained, split: Split, *, key_words: bool, nearest_frame: bool) -> Tensor:
    """Similarity (T, V) by the model's own interaction, with either attention on or off."""
    config = trained.config.model
    interaction = Interaction(
        trained.model.backbone.dim,
        interaction=config.interaction,
        text_side=config.text_side,
        nearest_frame=nearest_frame,
        weight_layers=config.weight_layers,
    )
    interaction.load_state_dict(trained.model.interaction.state_dict())
    text = split.text if key_words else replace(split.text, word_weights=split.text.word_mask.float())
    scores: Tensor = interaction(text, split.video)
    return scores


def partial(pyplot: Any, trained: Trained, val: Split, row: int, frames: list[np.ndarray]) -> Any:
    """What the selector hides of one pair, and what that does to the three orders."""
    orders, word_weights, kept_words, frame_weights, kept_frames = chosen(trained, val)
    names = tokens(trained, val.captions[row])
    figure = pyplot.figure(figsize=(8.6, 5.4))
    words = figure.add_axes((0.08, 0.71, 0.89, 0.17))
    _bars(words, word_weights[row, : len(names)], kept_words[row, : len(names)])
    words.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    words.set_title("Words, weighted from the frames", loc="left", weight="bold", fontsize=10)
    strip = figure.add_axes((0.08, 0.40, 0.89, 0.12))
    _bars(strip, frame_weights[row, : len(frames)], kept_frames[row, : len(frames)])
    strip.set_xticks([])
    strip.set_title("Frames, weighted from the sentence", loc="left", weight="bold", fontsize=10)
    cell = 0.89 / len(frames)
    for i, frame in enumerate(frames):
        hidden = not bool(kept_frames[row, i])
        shown = (frame.astype(float) * 0.25 + 255 * 0.6).astype(np.uint8) if hidden else frame
        _thumbnail(figure, (0.08 + i * cell + 0.006, 0.295, cell - 0.012, (cell - 0.012) * 8.6 / 5.4), shown)
    axes = figure.add_axes((0.25, 0.06, 0.55, 0.165))
    labels = ("1. sentence: V over V′", "2. words: V over V′", "3. words: all over kept")
    for y in range(3):
        high, low = orders.positive[y, row].item(), orders.negative[y, row].item()
        axes.plot((low, high), (y, y), color=PALE, linewidth=2, zorder=1)
        axes.plot(high, y, "o", color=BLUE, markersize=8)
        axes.plot(low, y, "o", color=ORANGE, markersize=8)
        axes.text(1.02, y, f"{high:.3f} − {low:.3f}", va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(range(3), labels)
    axes.set_ylim(2.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_title("Three partial orders: whole (blue) over partial (orange)", loc="left", weight="bold", fontsize=10)
    for each in (words, strip, axes):
        _bare(each)
    figure.text(0.08, 0.955, f"“{val.captions[row]}”; what the selector hides is orange", weight="bold")
    tell_partial(trained, orders, word_weights, kept_words, val)
    lost = (val.video.frame_mask & ~kept_frames).float().sum(dim=1)
    click.echo(f"{lost.mean():.2f} frames hidden a pair")
    return figure


def chosen(trained: Trained, split: Split) -> tuple[PartialOrders, Tensor, Tensor, Tensor, Tensor]:
    """The orders of matched pairs, and what made them: weights and kept tokens of words (B, W) and of frames (B, F)."""
    text, video, predictors = split.text, split.video, trained.partial
    words = text.word_features.masked_fill(~text.word_mask.unsqueeze(-1), 0.0)
    one = text.word_mask.new_ones(len(text), 1)
    by_frames = predictors.word_weights(video.frame_features, video.frame_mask, words, text.word_mask)
    by_sentence = predictors.frame_weights(text.text_features.unsqueeze(1), one, video.frame_features, video.frame_mask)
    return (
        predictors(text, video),
        by_frames,
        select_tokens(by_frames, text.word_mask, predictors.threshold),
        by_sentence,
        select_tokens(by_sentence, video.frame_mask, predictors.threshold),
    )


def tell_partial(trained: Trained, orders: PartialOrders, word_weights: Tensor, kept: Tensor, val: Split) -> None:
    """Print what the selector does over the whole split."""
    hidden = (val.text.word_mask & ~kept).float().sum(dim=1)
    first_two = word_weights[:, :2].sum(dim=1).mean().item()
    click.echo(f"\nTPM-CL over {len(kept)} pairs: the first two tokens have {first_two:.3f} of the words' weight;")
    click.echo(f"no word hidden in {int((hidden == 0).sum())} pairs, {hidden.mean():.2f} words a pair;")
    margin = trained.config.loss.partial_margin
    for i in range(3):
        difference = (orders.positive[i] - orders.negative[i])[orders.valid[i]]
        held = 100 * (difference > 0).float().mean().item()
        off = 100 * (difference >= margin).float().mean().item()
        click.echo(
            f"order {i + 1}: {len(difference)} pairs, mean difference {difference.mean():.3f},"
            f" above 0 in {held:.1f} %, above the margin {margin} in {off:.1f} %"
        )


def hard_negatives(pyplot: Any, trained: Trained) -> Any:
    """The similarities of the run's first batch, as they are after training, and NegNCE's hard set in it."""
    records = [record for record in trained.manifest.records if record.split == "train"]
    pairs = Plan(records, trained.config).batches(0)[0]
    batch = encode(
        trained, [records[pair.video] for pair in pairs], [records[p.video].captions[p.caption] for p in pairs]
    )
    scores = trained.model.similarity(batch.text, batch.video)
    own = scores.diagonal()
    over = torch.maximum(scores - own[:, None], scores - own[None, :]).fill_diagonal_(-torch.inf)
    ids = torch.tensor([pair.video for pair in pairs])
    over = over.masked_fill(ids[:, None] == ids[None, :], -torch.inf)
    hard = over > -trained.config.loss.negative_margin
    figure = pyplot.figure(figsize=(8.6, 4.7))
    axes = figure.add_axes((0.055, 0.09, 0.44, 0.44 * 8.6 / 4.7))
    axes.imshow(scores.numpy(), cmap="viridis", interpolation="nearest")
    for text, video in hard.nonzero().tolist():
        axes.add_patch(pyplot.Rectangle((video - 0.5, text - 0.5), 1, 1, fill=False, edgecolor=MARK, linewidth=1.6))
    axes.set(xlabel="video", ylabel="text", title="")
    key = figure.add_axes((0.055, 0.955, 0.2, 0.016))
    figure.colorbar(axes.images[0], cax=key, orientation="horizontal").outline.set_visible(False)
    figure.text(0.27, 0.95, "similarity S; framed: hard set H")
    _bare(axes)
    strongest = over.flatten().argsort(descending=True)[:4].tolist()
    figure.text(0.53, 0.925, f"{int(hard.sum())} hard of {hard.numel() - len(hard)}. The hardest:", weight="bold")
    lines = []
    for text, video in ((n // len(hard), n % len(hard)) for n in strongest):
        lines.append(
            f"text {text}, {own[text]:.3f} with its own video:\n"
            + textwrap.fill(f"“{batch.captions[text]}”", 58)
            + f"\n{scores[text, video]:.3f} with video {video} (its own text has {own[video]:.3f}):\n"
            + textwrap.fill(f"“{batch.captions[video]}”", 58)
        )
    figure.text(0.53, 0.885, "\n\n".join(lines), va="top", linespacing=1.35, fontsize=7.5)
    loss, scale = trained.config.loss, trained.config.loss.logit_scale
    if scale != "learned":
        plain = info_nce(scores, float(scale), ids).item()
        whole = neg_nce(scores, float(scale), loss.negative_margin, loss.positive_weight, loss.negative_weight, ids)
        click.echo(f"\nfirst batch: InfoNCE {plain:.3f}, NegNCE {whole.item():.3f}")
    sizes = ", ".join(f"{int((over > -mu).sum())} at {mu:g}" for mu in (0.0, 0.02, 0.05, 0.1))
    click.echo(f"hard negatives of the first batch ({len(hard)} pairs) by margin mu: {sizes}")
    return figure


def _bars(axes: Any, values: Tensor, kept: Tensor) -> None:
    axes.bar(range(len(values)), values, color=[BLUE if stays else ORANGE for stays in kept.tolist()])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.tick_params(axis="x", length=0)


def _thumbnail(figure: Any, place: tuple[float, float, float, float], frame: np.ndarray) -> None:
    axes = figure.add_axes(place)
    axes.imshow(frame, interpolation="none")
    axes.set_axis_off()


def _bare(axes: Any) -> None:
    for side in axes.spines.values():
        side.set_visible(False)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise InstallError("the pictures need matplotlib: pip install 'tvrkit[plot]'.") from None
    matplotlib.use("agg")
    matplotlib.rcParams |= {"font.size": 9, "font.family": "DejaVu Sans"}
    matplotlib.rcParams |= {name: INK for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")}
    matplotlib.rcParams |= {"axes.facecolor": CARD}
    import matplotlib.pyplot as pyplot

    return pyplot


if __name__ == "__main__":
    main()
