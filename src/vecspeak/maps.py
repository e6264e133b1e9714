"""Places on a flat map for the vectors of a space."""

from importlib.util import find_spec

import numpy as np

from vecspeak.errors import ConfigError


def check_map() -> None:
    """Raises ConfigError where the map's library is missing, before any slow work."""
    if find_spec("umap") is None:
        raise ConfigError("A map needs umap-learn, which is not installed: pip install 'vecspeak[demo]'.")


def map_layout(vectors_NE: np.ndarray) -> np.ndarray:
    """(N, 2): UMAP under cosine with a fixed seed; the same vectors give the same map on the same machine."""
    from umap import UMAP

    # one job because of the seed: asking for more makes UMAP warn that it will not
    return UMAP(n_neighbors=15, min_dist=0.15, metric="cosine", random_state=0, n_jobs=1).fit_transform(vectors_NE)
