"""One folder per port, one file per tool; found through entry points, ours like anyone's."""
