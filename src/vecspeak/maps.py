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
    near = min(15, len(vectors_NE) - 1)
    return UMAP(n_neighbors=near, min_dist=0.15, metric="cosine", random_state=0, n_jobs=1).fit_transform(vectors_NE)


def tsne_layout(vectors_NE: np.ndarray) -> np.ndarray:
    """(N, 2): t-SNE under cosine from a PCA start, with a fixed seed."""
    from sklearn.manifold import TSNE

    near = min(30.0, (len(vectors_NE) - 1) / 3)
    return TSNE(perplexity=near, metric="cosine", init="pca", random_state=0).fit_transform(vectors_NE)


def pca_layout(vectors_NE: np.ndarray) -> np.ndarray:
    """(N, 2): the two directions of largest variance."""
    from sklearn.decomposition import PCA

    return PCA(2, random_state=0).fit_transform(vectors_NE)


def unit_square(places_N2: np.ndarray) -> np.ndarray:
    """(N, 2): the same places in 0..1 by 0..1, each axis stretched by itself."""
    low, high = places_N2.min(0), places_N2.max(0)
    return (places_N2 - low) / np.where(high > low, high - low, 1)
