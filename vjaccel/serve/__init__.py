"""A service for embeddings that speaks OpenAI's API. Needs FastAPI and uvicorn (extra ``serve``).

`batching` puts the texts of all requests through one run of an embedder, `app` answers HTTP, `replies` is what is answered.
"""

from vjaccel.serve.batching import Answer, Batcher, Busy

__all__ = ["Answer", "Batcher", "Busy"]
