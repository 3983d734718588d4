"""The store on ArangoDB, over HTTP."""

from __future__ import annotations

from streamforge_utils.adapters.arango.arango_documents import Documents
from streamforge_utils.adapters.arango.arango_states import States
from streamforge_utils.adapters.arango.arango_transport import Retries, Transport
from streamforge_utils.adapters.arango.connection import Connection
from streamforge_utils.adapters.arango.graph import Edges

__all__ = ["ArangoStore", "Connection", "Retries", "Transport"]


class ArangoStore(Documents, States, Edges):
    """Documents, states and edges in one database, which any number of processes share.

    What was answered survives the death of any process; states, and documents after `flush`, power loss as well.
    Counts `store_documents` (by outcome), `store_write_seconds` and `store_retries_total` (by reason).
    """
