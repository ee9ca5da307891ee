"""Capture of later writes: what of each table can be, publications, slot, restore point, and the way back."""
