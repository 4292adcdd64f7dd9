"""Training and evaluation on an NVIDIA GPU, against the CPU. Some settings are process-wide, and put back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from team import run_team
from tiny import HERE, make_data, tiny_config, write_clip

from tvrkit.config import TrainConfig
from tvrkit.core import build_model, load_model
from tvrkit.data import Batch, Pair
from tvrkit.distributed import SOLO, Team
from tvrkit.evaluate import encode_split, evaluate
from tvrkit.manifest import Record, read_manifest
from tvrkit.reporting import Silent
from tvrkit.train.gradients import Gradients
from tvrkit.train.loop import train
from tvrkit.train.objective import Objective
from tvrkit.train.optim import freeze, make_optimizer, parameter_groups, train_mode
from tvrkit.train.parallel import Parallel, gradient_norm_and_clip, is_sharded, trained
from tvrkit.train.sharding import Sharded
from tvrkit.train.towers import prepare_towers

pytestmark = pytest.mark.needs_cuda

COLOURS = ("red", "green", "blue", "white", "small", "large", "round", "flat")


@pytest.fixture(autouse=True)
def exact_products():
    """float32 products in float32, so that what differs is what a test is about."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


class Pixels:
    """A source whose frames are at hand."""

    def features(self, model, batch):
        pixels, mask = batch.frames.to(model.device), batch.frame_mask.to(model.device)
        return model.encode_frames(pixels, mask), mask


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def some_batch(pairs: int, frames: int = 4, size: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(pairs)
    pixels = torch.randn(pairs, frames, 3, size, size, generator=generator)
    mask = torch.ones(pairs, frames, dtype=torch.bool)
    mask[0, 2:] = False
    return Batch(tuple(Pair(i, 0) for i in range(pairs)), pixels, mask)


def parts(folder: Path, device: str, **train):
    """Model and objective with the same weights on every device, and their gradients' computer."""
    path = folder / "tiny_clip.json"
    config = tiny_config(path if path.exists() else write_clip(folder), folder / "nowhere", train=train)
    torch.manual_seed(0)
    model = build_model(config.model)
    objective = Objective(config.loss, dim=model.backbone.dim, num_frames=4, max_words=model.backbone.max_words)
    model, objective = model.to(device), objective.to(device)
    freeze(model, "none", learn_scale=True)
    prepare_towers(model, config.train)
    train_mode(model)
    return config, model, objective


def computer(config, model, objective, pairs: int, parallel=None, report=None) -> Gradients:
    records = [
        Record(f"v{i}", f"v{i}.mp4", (f"a {COLOURS[i % 8]} square number {i}",), key_words=(((2, 5),),))
        for i in range(pairs)
    ]
    return Gradients(model, objective, Pixels(), records, config, parallel or Parallel(), SOLO, report or Heard())


def outcome(folder: Path, device: str, pairs: int = 8, **train) -> tuple[float, dict[str, torch.Tensor]]:
    config, model, objective = parts(folder, device, **train)
    loss = computer(config, model, objective, pairs)(some_batch(pairs), [pairs], 0)
    named = [*model.named_parameters(), *objective.named_parameters(prefix="objective")]
    return loss.total.item(), {name: p.grad.float().cpu() for name, p in named if p.grad is not None}


def assert_close(found, wanted, relative: float) -> None:
    """Each gradient to a part of its own length; those that are nearly nothing beside the rest are left out."""
    assert found[0] == pytest.approx(wanted[0], rel=relative)
    assert found[1].keys() == wanted[1].keys()
    longest = max(gradient.norm() for gradient in wanted[1].values())
    for name, gradient in wanted[1].items():
        if gradient.norm() > 1e-4 * longest:
            assert (found[1][name] - gradient).norm() <= relative * gradient.norm(), name


def test_a_step_in_float32_is_the_cpus(tmp_path):
    wanted = outcome(tmp_path, "cpu", precision="fp32")
    assert_close(outcome(tmp_path, "cuda", precision="fp32"), wanted, 2e-3)


def test_pieces_and_checkpointing_are_the_plain_step(tmp_path):
    wanted = outcome(tmp_path, "cuda", precision="fp32")
    assert_close(outcome(tmp_path, "cuda", precision="fp32", micro_batch=3), wanted, 2e-3)
    assert_close(outcome(tmp_path, "cuda", precision="fp32", gradient_checkpointing=True), wanted, 2e-3)


def test_a_step_in_bf16_points_where_float32_does(tmp_path):
    wanted, found = outcome(tmp_path, "cuda", precision="fp32"), outcome(tmp_path, "cuda", precision="bf16")
    assert found[0] == pytest.approx(wanted[0], rel=0.05)
    names = sorted(wanted[1])
    one, other = (torch.cat([gradients[name].flatten() for name in names]) for gradients in (wanted[1], found[1]))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.97
    assert all(torch.isfinite(gradient).all() for gradient in found[1].values())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_blocks_are_the_same_model(tmp_path):
    wanted = outcome(tmp_path, "cuda", precision="fp32")
    assert_close(outcome(tmp_path, "cuda", precision="fp32", compile=True), wanted, 2e-3)
    assert_close(outcome(tmp_path, "cuda", precision="fp32", compile=True, micro_batch=3), wanted, 2e-3)


def nccl(team: Team, folder: Path, store: Path, how: str) -> tuple[list[float], float, bool]:
    """Losses of three steps by as many processes as there are GPUs, which may be one."""
    import torch.distributed as dist

    dist.destroy_process_group()
    torch.cuda.set_device(team.rank)
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=store.as_uri(), rank=team.rank, world_size=team.size)
    device = f"cuda:{team.rank}"
    config, model, objective = parts(folder, device, precision="fp32", gradient_checkpointing=True)
    # Not by `parallel_of`, for which one process is nothing to shard.
    parallel = Sharded(model, objective, team, torch.device(device)) if how == "fsdp" else Parallel()
    settings = TrainConfig(lr=1e-3, clip_lr=1e-3)
    optimizer = make_optimizer(parameter_groups(model, {"objective": objective}, settings), settings)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    whole = some_batch(8)
    rows = team.split(8)
    mine = Batch(whole.pairs[rows], whole.frames[rows], whole.frame_mask[rows])
    records = computer(config, model, objective, 8)._records
    gradients = Gradients(model, objective, Pixels(), records, config, parallel, team, Silent())
    counts = [int(n) for n in team.numbers(len(mine))[:, 0]]
    losses = []
    for step in range(3):
        losses.append(gradients(mine, counts, step).total.item())
        gradient_norm_and_clip(trained([model, objective]), 1.0)
        optimizer.step()
    sharded = any(is_sharded(parameter) for parameter in model.parameters())
    with torch.no_grad():
        evaluated = parallel.evaluated(model)
        scale = evaluated.encode_frames(whole.frames.to(device), whole.frame_mask.to(device)).norm().item()
    return losses, scale, sharded


@pytest.mark.slow
def test_fsdp_on_gpus_trains_as_one_process(tmp_path):
    write_clip(tmp_path)
    alone = run_team(nccl, 1, tmp_path, tmp_path / "alone", "ddp", timeout=300)[0]
    assert alone[0][0] != alone[0][2] and not alone[2]
    for size in sorted({1, min(2, torch.cuda.device_count())}):
        for losses, scale, sharded in run_team(nccl, size, tmp_path, tmp_path / f"store{size}", "fsdp", timeout=300):
            assert sharded
            assert losses == pytest.approx(alone[0], rel=2e-3)
            assert scale == pytest.approx(alone[1], rel=2e-3)


@pytest.mark.slow
def test_a_run_on_the_gpu_is_evaluated_alike_on_the_cpu(tmp_path):
    clip = write_clip(tmp_path)
    manifest_file = make_data(tmp_path / "squares", val=8)
    config = tiny_config(clip, manifest_file)
    train(config, tmp_path / "run", device="cuda")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))

    manifest = read_manifest(manifest_file)
    models = {device: load_model(tmp_path / "run", device) for device in ("cpu", "cuda")}
    frames = {device: encode_split(model, manifest, "val", reading=HERE) for device, model in models.items()}
    torch.testing.assert_close(frames["cuda"].frame_features, frames["cpu"].frame_features, rtol=1e-3, atol=1e-3)
    found, wanted = (evaluate(models[device], manifest, "val", reading=HERE) for device in ("cuda", "cpu"))
    # A rank may change where two videos are alike to the last bits; one of eight may.
    for direction in ("t2v", "v2t"):
        ours, theirs = getattr(found, direction), getattr(wanted, direction)
        assert abs(ours.mean_rank - theirs.mean_rank) <= 1 / 8


def test_out_of_memory_halves_the_micro_batch_and_changes_no_loss(tmp_path):
    pairs, device = 128, torch.device("cuda", torch.cuda.current_device())
    batch = some_batch(pairs, size=64)
    path = write_clip(tmp_path)  # some gigabytes of activations
    clip = json.loads(path.read_text())
    clip["model_cfg"]["vision_cfg"] |= {"image_size": 64, "patch_size": 8, "width": 256, "layers": 4, "head_width": 64}
    path.write_text(json.dumps(clip))
    config, model, objective = parts(tmp_path, "cuda", precision="fp32")

    def peak(micro: int | None) -> tuple[float, int]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        settings = replace(config, train=replace(config.train, micro_batch=micro))
        loss = computer(settings, model, objective, pairs)(batch, [pairs], 0).total.item()
        return loss, torch.cuda.max_memory_reserved(device)

    peak(None)  # what libraries take at first
    (wanted, most), (_, least) = peak(None), peak(4)
    assert most > 2 * least, "the batch is too small to tell"
    report = Heard()
    gradients = computer(config, model, objective, pairs, report=report)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((least + most) / 2 / total, device)
    try:
        loss = gradients(batch, [pairs], 0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert gradients.micro_batch is not None and gradients.micro_batch < pairs
    assert report.warnings[0].startswith("Out of memory at step 1 with 128 pairs at a time: from now on 64")
    assert loss.total.item() == pytest.approx(wanted, rel=1e-3)
    again = gradients(batch, [pairs], 1)  # remembered
    assert again.total.item() == pytest.approx(wanted, rel=1e-3)
