"""The store on ArangoDB: documents, states and edges in one database, shared by any number of processes."""

from __future__ import annotations

from streamforge_utils.adapters.arango.arango_documents import Documents
from streamforge_utils.adapters.arango.arango_states import States
from streamforge_utils.adapters.arango.graph import Edges


class ArangoStore(Documents, States, Edges):
    """Documents, states and edges in the database of `connection`.

    What was answered survives the death of any process; states, and documents after `flush`, power loss as well.
    Counts `store_documents` (by outcome), `store_write_seconds` and `store_retries_total` (by reason).
    """
