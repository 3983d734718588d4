"""Where the API server keeps the objects of a namespace."""

from __future__ import annotations


class Paths:
    """The collections of Jobs and pods."""

    def __init__(self, namespace: str) -> None:
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
