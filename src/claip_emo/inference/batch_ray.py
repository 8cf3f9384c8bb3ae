"""Chunks of files on a Ray cluster: Ray Data hands them to actors, each with a model of its own."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from claip_emo.inference.batch import Choices, ChunkRecognizer, Rows
from claip_emo.inference.batch_work import Chunk
from claip_emo.inference.onnx_model import MissingExtraError

EXTRA = "claip-emo[scale]"


class RayEngine:
    """Recognises on Ray.

    Args:
        choices: how; ``workers`` is the number of actors, each of which takes a core.
        address: of a cluster; None: one is started on this machine.
    """

    def __init__(self, choices: Choices, address: str | None = None):
        """Connect.

        Raises:
            MissingExtraError: if Ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError(f"Ray is not installed: pip install '{EXTRA}'.") from error
        self._choices = choices
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell of itself
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        own = {} if address else {"include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False

    def rows(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Rows]]:
        """Yield each chunk with the rows of its files, in the order in which they are done."""
        import ray

        by_name = {chunk.name: chunk for chunk in chunks}
        if not by_name:
            return
        items = [{"name": name, "paths": list(chunk.paths)} for name, chunk in by_name.items()]
        found = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            RayRecognizer,
            fn_constructor_args=(replace(self._choices, workers=1),),
            compute=ray.data.ActorPoolStrategy(size=self._choices.workers),
            batch_size=1,
            num_cpus=1,
        )
        for row in found.iter_rows():
            yield by_name[row["name"]], json.loads(row["rows"])

    def close(self) -> None:
        """Disconnect; what was started here ends."""
        import ray

        ray.shutdown()


class RayRecognizer:
    """One actor.

    Args:
        choices: how it recognises.
    """

    def __init__(self, choices: Choices):
        """Load the model."""
        self._recognizer = ChunkRecognizer(choices, choices.reader())

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rows of one chunk, as JSON: columns that are empty have no type otherwise."""
        chunk = Chunk(str(batch["name"][0]), tuple(map(str, batch["paths"][0])))
        ((_, rows),) = self._recognizer.rows([chunk])
        return {"name": np.array([chunk.name]), "rows": np.array([json.dumps(rows)])}
