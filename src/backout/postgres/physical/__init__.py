"""Copies of whole clusters: base backups, WAL, exact recovery, isolation before the first start."""
