"""Addresses to listen on."""

from __future__ import annotations

import ipaddress

EVERYWHERE = str(ipaddress.IPv4Address(0))
"""All addresses of the machine, in IPv4."""
