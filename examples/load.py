"""Load a trained or exported model and ask it: python examples/load.py MODEL CLIP QUESTION."""

import sys

import tvrkit
from tvrkit.encode import encode_frames, encode_texts, encode_videos
from tvrkit.frames.reader import FrameRequest
from tvrkit.frames.reading import Reading

model = tvrkit.load(sys.argv[1])
requests = [FrameRequest(sys.argv[2], num_frames=model.config.num_frames)]
frames = encode_frames(model, requests, reading=Reading(workers=0))
video = encode_videos(model, frames.frame_features, frames.frame_mask)
print(f"{model.similarity(encode_texts(model, sys.argv[3:4]), video).item():.3f}")
