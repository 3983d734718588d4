"""A double of ArangoDB: a small HTTP server that answers as real servers were recorded to answer.

It speaks the part of ArangoDB 3.11 and 3.12 that StreamForge and arangoimport use. What it says is checked against
recorded answers (`tests.doubles.arangodb.replay`); it can keep its data in a file, and it can misbehave on demand
(`misbehaviour.py`).
"""
