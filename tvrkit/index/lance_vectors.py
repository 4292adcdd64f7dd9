"""LanceDB's own index of the pooled vectors, which answers without looking at each of them."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from tvrkit.encode.moments import POOLED
from tvrkit.errors import StoreError
from tvrkit.index import lance_engine
from tvrkit.index.lance_tables import said

if TYPE_CHECKING:
    from tvrkit.index.lance_tables import LanceTables

_log = logging.getLogger("tvrkit.index")


def is_behind(tables: LanceTables) -> bool:
    """Whether it misses so many moments that looking at each of those is felt."""
    with said(tables.place):
        for index in tables.moments.list_indices():
            stats = tables.moments.index_stats(index.name)
            if stats is not None and stats.num_unindexed_rows > lance_engine.FLAT_MOMENTS // 10:
                return True
    return False


def keep_indexed(tables: LanceTables, made_of: int, grown: float) -> int:
    """Make it where there are too many moments to look at each, and anew when they have become many more.

    What is added in between is put into the existing partitions when the table is tidied, and until then looked at one
    by one: nothing is overlooked.

    Args:
        tables: of the data set.
        made_of: how many moments there were when it was last made; 0 for never.
        grown: how many times as many call for a new one.

    Returns:
        How many moments it is made of now, where it was made; else 0.
    """
    from lancedb.index import IvfRq

    moments = tables.moments.count_rows()
    if moments <= max(lance_engine.FLAT_MOMENTS, grown * made_of):
        return 0
    _log.info("%s: arranging %d moments for search", tables.place, moments)
    config = IvfRq(distance_type="cosine", num_partitions=max(1, round(math.sqrt(POOLED * moments) / 2)))
    try:
        tables.commit(lambda: tables.moments.create_index("pooled", config=config, replace=True))
    except StoreError:
        return 0  # another process is at it; the next to tidy looks again
    return moments
