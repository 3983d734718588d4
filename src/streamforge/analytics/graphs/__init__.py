"""Graphs of assets: who moved with whom, told at each moment from bars that were closed by then."""
