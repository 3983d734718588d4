"""The part of AQL that is sent to the double and that a user's tools send: parsed and run, not matched as text."""
