"""Where dumps, manifests and bundles lie."""
