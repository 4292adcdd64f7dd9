"""How well each caption fits each clip: python examples/score.py MODEL CLIP... --captions CAPTION...

MODEL is an exported folder, a run, or an open_clip name as ViT-B-32/openai.
"""

import argparse

import tvrkit
from tvrkit.encode import encode_frames, encode_texts, encode_videos
from tvrkit.frames.reader import FrameRequest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--captions", nargs="+", required=True)
    arguments = parser.parse_args()

    model = tvrkit.load(arguments.model)
    requests = [FrameRequest(clip, num_frames=model.config.num_frames) for clip in arguments.clips]
    frames = encode_frames(model, requests)
    videos = encode_videos(model, frames.frame_features, frames.frame_mask)
    texts = encode_texts(model, arguments.captions)
    similarity = model.similarity(texts, videos)  # (captions, clips that could be read), higher is closer

    for caption, scores in zip(arguments.captions, similarity, strict=True):
        for row, score in sorted(zip(frames.rows, scores, strict=True), key=lambda pair: -pair[1]):
            print(f"{score:.3f}  {caption}  {arguments.clips[row]}")
    for row, error in frames.failures.items():
        print(f"not read: {arguments.clips[row]}: {error.reason}")


# Videos are read in processes of their own, which import this file: without this line each would start the work anew.
if __name__ == "__main__":
    main()
