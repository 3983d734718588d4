"""Models that need PyTorch (`pip install 'streamforge-market-data[gnn]'`): nothing else imports it."""

import os

# Both are read once, when torch is loaded: threads that wait must not burn a core that others use, and a GPU's products
# must be the same each time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
