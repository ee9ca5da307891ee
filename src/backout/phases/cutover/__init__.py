"""Cutover: hold writes, move traffic, release writes; keep the way back armed."""
