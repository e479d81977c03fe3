"""What every test needs: nothing reaches for a model hub."""

from __future__ import annotations

import os

# Read when huggingface_hub is first imported, so it is set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
