from __future__ import annotations

import pickle

from tvrkit import errors


def test_every_error_is_a_tvrkit_error_and_in_the_tree_of_the_docstring():
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) > 5
    for cls in classes:
        assert issubclass(cls, errors.TvrkitError)
        assert cls.__name__ in (errors.__doc__ or "")


def test_a_video_error_crosses_a_process_boundary():
    error = pickle.loads(pickle.dumps(errors.VideoTimeoutError("a.mp4", "hung")))
    assert (type(error), error.path, error.reason) == (errors.VideoTimeoutError, "a.mp4", "hung")
    assert str(error) == "a.mp4: hung"
