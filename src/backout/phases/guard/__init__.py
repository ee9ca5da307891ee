"""Arm a restore point and the capture of later writes before a migration, watch them, drop them."""
