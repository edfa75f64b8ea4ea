"""Errors of queries.

QueryError   a query or a target condition that cannot be used
"""

from skerry_lab.errors import LabError


class QueryError(LabError):
    """A query that cannot be used; `start` counts characters from 0."""

    def __init__(self, message: str, start: int) -> None:
        super().__init__(f"column {start + 1}: {message}")
        self.start = start
