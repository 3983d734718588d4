"""Schema validation of a collection: JSON Schema draft 4 with ArangoDB's levels."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from tests.doubles.arangodb.errors import ArangoError
from tests.doubles.arangodb.values import Doc

LEVELS = ("none", "new", "moderate", "strict")


class Schema:
    """A checked schema object: `{"rule", "level", "message"}`; 1621 where it is none."""

    def __init__(self, given: Any) -> None:
        if type(given) is not dict or type(given.get("rule", {})) is not dict:
            raise ArangoError(1621, "schema validation bad parameter - expecting an object with an object `rule`")
        self.level = given.get("level", "strict")
        if self.level not in LEVELS:
            raise ArangoError(1621, f"schema validation bad parameter - valid levels are {', '.join(LEVELS)}")
        if given.get("type", "json") != "json":
            raise ArangoError(1621, "schema validation bad parameter - the only supported type is 'json'")
        message = given.get("message", "")
        if type(message) is not str:
            raise ArangoError(1621, "schema validation bad parameter - the message is no string")
        self._message = message or "schema validation failed"
        try:
            self._validator = jsonschema_rs.Draft4Validator(given.get("rule", {}))
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise ArangoError(1621, f"schema validation bad parameter - {error}") from error

    def check_new(self, document: Doc) -> None:
        """Before an insert; 1620 with the schema's own message."""
        if self.level != "none" and not self._valid(document):
            raise ArangoError(1620, self._message)

    def check_changed(self, before: Doc, after: Doc) -> None:
        """Before a replace or update: level `moderate` lets pass what was invalid before."""
        if self.level in ("none", "new") or self._valid(after):
            return
        if self.level == "strict" or self._valid(before):
            raise ArangoError(1620, self._message)

    def _valid(self, document: Doc) -> bool:
        own = {name: value for name, value in document.items() if name not in ("_key", "_id", "_rev", "_from", "_to")}
        return bool(self._validator.is_valid(own))
