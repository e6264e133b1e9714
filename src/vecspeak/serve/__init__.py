"""HTTP over a model: an OpenAI-compatible API, the explorer and what it needs."""
