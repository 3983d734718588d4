"""Kinds of records: one module or package per kind, found by `registry`; nothing else imports one."""
