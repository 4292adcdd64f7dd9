"""Words, pictures and videos as the model sees them: where each is read from, and what cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import pytest
import torch
from galleries import PlainEngine, index_of, moments_of
from media import make_video
from PIL import Image
from searching import make_model
from tiny import HERE
from webserver import web_server

from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures
from tvrkit.encode import encode_texts
from tvrkit.encode.moments import VideoMoments
from tvrkit.errors import DataError, VideoError
from tvrkit.index.ask import Ask, Part
from tvrkit.index.engine import Engine, MomentRef
from tvrkit.index.hits import Answer
from tvrkit.index.parts import encode_parts, first_stage, frames_as_words, is_cut, query_of_frames, query_of_picture
from tvrkit.index.search import Searcher

NOTHING = PlainEngine({})


def like(searcher: Searcher, path: Path | str, kind: str = "video") -> Answer:
    return searcher.search(Ask((Part(kind, str(path)),)))


def names(answer: Answer) -> list[str]:
    return [Path(hit.path).name for hit in answer.hits]


def test_a_query_that_is_too_long_is_noticed(model: RetrievalModel) -> None:
    fits = " ".join(["dog"] * 14)  # and start and end: 16
    assert not is_cut(model, "a dog") and not is_cut(model, fits) and not is_cut(model, fits + "  \n")
    assert is_cut(model, fits + " dog") and is_cut(model, fits * 9) and is_cut(model, fits + "s!")


@pytest.mark.parametrize(
    "settings", [{"interaction": "dot_product"}, {"interaction": "token_wise", "text_side": "sentence"}]
)
def test_of_a_single_frame_the_first_stage_is_the_similarity(settings: dict[str, str], tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", **settings)
    text = encode_texts(model, ["a dog", "two cats on a mat"])
    frames = torch.nn.functional.normalize(torch.randn(7, 1, model.backbone.dim), dim=-1)
    with torch.no_grad():
        scores = model.similarity(text, VideoFeatures(frames, torch.ones(7, 1, dtype=torch.bool)))
    vectors = torch.cat(first_stage(model, text))
    assert torch.allclose(vectors @ frames[:, 0].T, scores, atol=1e-5)


def test_words_enter_the_first_stage_by_their_weights(model: RetrievalModel) -> None:
    # Key words weigh 2: start, "a", end 1 each, "dog" 2; the sentence is half of the dual form.
    text = encode_texts(model, ["a dog"])
    assert text.word_weights[0, :4].tolist() == [1, 1, 2, 1]
    words = text.word_features[0, :4] * torch.tensor([1, 1, 2, 1]).unsqueeze(1) / 5
    by_hand = torch.cat([text.text_features, words]) / 2
    assert torch.allclose(first_stage(model, text)[0], by_hand, atol=1e-6)


def test_of_one_frame_a_moment_the_first_stage_is_the_words_half_of_the_similarity(tmp_path: Path) -> None:
    # With one frame, which is then every word's best one, however many words share a vector.
    model = make_model(tmp_path / "m", text_side="words")
    text = encode_texts(model, ["a dog", "a dog and a cat and a man on a mat by the sea"])
    assert [len(vectors) for vectors in first_stage(model, text)] == [4, 8]
    frame = torch.nn.functional.normalize(torch.randn(model.backbone.dim), dim=0)
    weights = text.word_weights * text.word_mask
    by_hand = (weights * (text.word_features @ frame)).sum(dim=1) / weights.sum(dim=1)
    sums = torch.stack([(vectors @ frame).sum() for vectors in first_stage(model, text)])
    assert torch.allclose(sums, by_hand, atol=1e-6)


def test_a_moment_whose_words_have_a_frame_each_is_a_candidate_before_one_that_is_half_of_both(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", text_side="words")
    x, y, z = torch.eye(3, model.backbone.dim)
    mask = torch.ones(1, 2, dtype=torch.bool)
    text = TextFeatures(x[None], torch.stack([x, y])[None], mask, mask.float())
    both = (x + y) / 2**0.5
    engine = PlainEngine({"each": moments_of([torch.stack([x, y, z])]), "half": moments_of([torch.stack([both] * 3)])})
    everything = engine.read(sum(engine.refs(), []))
    # Both ways: (1 + 2/3) / 2 and 1/sqrt 2. The sum of the words would prefer the other: 1/2 and 1/sqrt 2.
    scores = model.interaction(text, everything.features)[0]
    assert scores.tolist() == pytest.approx([5 / 6, 0.5**0.5], abs=1e-3)
    assert engine.candidates(first_stage(model, text)[0], 1) == [MomentRef("each", 0)]


def test_frames_are_compared_by_their_best_partners_both_ways() -> None:
    x, y = torch.eye(2)
    text, interaction = frames_as_words(torch.stack([x, y]))
    video = VideoFeatures(torch.stack([x, x, x])[None], torch.ones(1, 3, dtype=torch.bool))
    # x finds itself, y nothing: 1/2; every x of the video finds x: 1.
    assert float(interaction(text, video)) == pytest.approx(0.75)


def test_a_picture_is_as_like_a_moment_as_its_likest_frame(model: RetrievalModel) -> None:
    x, y = torch.eye(2)
    query = query_of_picture(model, x[None])
    frames = torch.stack([torch.stack([y, -x, x]), torch.stack([-x, -y, torch.full((2,), 9.0)])])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert query.interaction(query.features, VideoFeatures(frames, mask)).tolist() == [[1.0, 0.0]]
    assert query.interaction.best_frame(query.features, VideoFeatures(frames, mask)).tolist() == [[2, 1]]
    assert torch.equal(query.vectors, x[None])


def test_a_long_video_is_asked_by_some_of_its_frames(model: RetrievalModel) -> None:
    dim = model.backbone.dim
    frames = torch.nn.functional.normalize(torch.randn(300, dim), dim=-1)
    long, short, one = (query_of_frames(model, frames[:count]) for count in (300, 12, 1))
    assert long.features.word_mask.shape == (1, 64) and long.vectors.shape == (16, dim)
    assert torch.equal(long.features.word_features[0, [0, -1]], frames[[0, -1]])
    assert short.vectors.shape == (3, dim) and short.features.word_mask.shape == (1, 12)
    assert torch.allclose(one.vectors, frames[:1]) and one.features.word_mask.shape == (1, 1)
    assert float(short.vectors.norm(dim=1).sum()) == pytest.approx(1)


def test_a_video_finds_its_like_and_not_itself(model: RetrievalModel, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "c")
    copied = make_copy(tmp_path / "c/sub/b.mkv", tmp_path / "c/copied.mp4")
    with index_of(model, tmp_path / "c", tmp_path / "index") as index:
        searcher = Searcher(model, index.engine(), reading=HERE)
        answer = like(searcher, copied)
        assert names(answer)[0] == "b.mkv" and answer.hits[0].score == pytest.approx(1, abs=1e-3)
        assert sorted(names(answer)) == ["a.mp4", "b.mkv", "c.webm", "d.mov"]
        assert answer.videos == 4 and answer.moments == 4
        # By another name of the content, by identity, by address, and encoded now: the same.
        shutil.copyfile(copied, tmp_path / "elsewhere.mp4")
        identity = next(name for name, facts in index.engine().facts().items() if str(copied) in facts.paths)
        with web_server(tmp_path) as address:
            for value in (tmp_path / "elsewhere.mp4", identity, f"{address}elsewhere.mp4"):
                assert like(searcher, value) == answer
        index.drop_files([str(copied)])
        searcher.refresh(index.engine())
        now = like(searcher, copied)
        assert names(now) == names(answer)
        assert [hit.score for hit in now.hits] == pytest.approx([hit.score for hit in answer.hits], abs=1e-3)


def make_copy(source: Path, target: Path) -> Path:
    """The same packets in another container: other content, the same frames."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def test_a_picture_finds_the_video_and_the_moment_that_it_is_of(
    model: RetrievalModel, clips: Path, tmp_path: Path
) -> None:
    with index_of(model, clips, tmp_path / "index") as index:
        engine = index.engine()
        (identity,) = [name for name, facts in engine.facts().items() if facts.paths[0].endswith("c.webm")]
        read = engine.read([MomentRef(identity, 0)])
        wanted = float(read.pts_seconds[0, 2])
        with av.open(str(clips / "sub/deep/c.webm")) as container:
            frame = min(container.decode(video=0), key=lambda frame: abs(frame.time - wanted))
        picture = frame.to_image()
        picture.save(tmp_path / "picture.png")
        answer = like(Searcher(model, engine), tmp_path / "picture.png", "image")
        assert names(answer)[0] == "c.webm" and answer.hits[0].best_seconds == wanted
        # A camera that was held sideways says so; the picture is the same.
        sideways = Image.Exif()
        sideways[274] = 6
        picture.rotate(90, expand=True).save(tmp_path / "turned.png", exif=sideways)
        assert like(Searcher(model, engine), tmp_path / "turned.png", "image") == answer


def broken(tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    if name == "text.png":
        path.write_text("no picture")
    elif name == "half.png":
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:1500])
    elif name == "bomb.png":
        Image.new("1", (20000, 10000)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("text.png", "is no picture"), ("half.png", "cannot be read"), ("bomb.png", "too many"), ("none.png", "No such")],
)
def test_pictures_that_cannot_be_read(model: RetrievalModel, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        encode_parts(model, NOTHING, [Part("image", broken(tmp_path, name))])
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_videos_that_cannot_be_read_or_show_nothing(model: RetrievalModel, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="none.mp4"):
        encode_parts(model, NOTHING, [Part("video", str(tmp_path / "none.mp4"))], HERE)
    (tmp_path / "broken.mp4").write_bytes(b"broken" * 1000)
    with pytest.raises(VideoError, match="broken.mp4"):
        encode_parts(model, NOTHING, [Part("video", str(tmp_path / "broken.mp4"))], HERE)
    blank = moments_of([torch.ones(1, 8)])
    empty = VideoMoments(*(getattr(blank, name)[:0] for name in list(vars(blank))[:7]), duration_seconds=4.0)
    engine: Engine = PlainEngine({"aa": empty})
    with pytest.raises(DataError, match="/v/aa.mp4 is black or blank"):
        encode_parts(model, engine, [Part("video", "aa")])


def test_a_black_video_that_is_not_in_the_index(model: RetrievalModel, tmp_path: Path) -> None:
    path = tmp_path / "black.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 64)))))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"black\.mp4 is black or blank"):
        encode_parts(model, NOTHING, [Part("video", str(path))], HERE)


def test_each_part_is_encoded_once(model: RetrievalModel, tmp_path: Path) -> None:
    make_video(tmp_path / "v.mp4", num_frames=5)
    dog, video = Part("text", "a dog"), Part("video", str(tmp_path / "v.mp4"), 2.0)
    queries = encode_parts(model, NOTHING, [dog, video, dog], HERE)
    assert list(queries) == [dog, video] and queries[video].weight == 2.0
    assert queries[dog].is_text and not queries[video].is_text and queries[dog].identity is None
