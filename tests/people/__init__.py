"""The people who approve: their keys, their signatures and the file that enrols them."""
